"""Verifies a whole identity from its files alone: hub, user, host, and what hangs on them.

From the root key to the TLS key each link is a signature that is checked here; what no file can tell is said
as well.
"""

from __future__ import annotations

from datetime import datetime

from keys import history, root, statement
from keys.errors import TrustError
from keys.fields import decode, moment
from keys.history import History
from keys.lifecycle.bundle import Bundle, Member
from keys.lifecycle.report import Report
from keys.log import checkpoint, entry, merkle, proof
from keys.note import Verifier
from keys.publickey import PublicKey
from keys.root import Root
from keys.statement import Statement
from keys.tls.certificate import parse_certificate
from keys.tls.pin import verify_pin


def examine(bundle: Bundle, report: Report, now: datetime) -> dict[str, History]:
    """Check everything in `bundle`; the chains of "user" and "host" that hold."""
    hub = None
    with report.about("hub root"):
        hub = _root(bundle.roots, report)
    chains: dict[str, History] = {}
    for kind, member in (("user", bundle.user), ("host", bundle.host)):
        with report.about(kind):
            said = statement.parse(member.statement)[0]
            if not said.id.startswith(f"{kind}-"):
                raise TrustError(f"{said.id} is not a {kind}")
            with report.about(said.id):
                found = _chain(said.id, member, report)
                chains[kind] = found
                _stated(said, member, found, hub, report, now)
    if len(chains) == 2:
        with report.about("owner"):
            _owned(bundle, chains["user"], chains["host"], report)
    if "host" in chains:
        _tls(bundle, chains["host"], report, now)
    return chains


def _root(notes: list[str], report: Report) -> Root:
    newest = None
    for text in notes:
        newest = root.verify(text, newest)
        signed = root.parse(text)[1].verify(
            Verifier(root.root_name(newest.origin), key) for key in newest.roots
        )
        keys = ", ".join(verifier.key.fingerprint for verifier in signed)
        where = "the hub inside ampzero" if newest.url == root.NO_URL else newest.url
        report.ok(f"root key   {keys}")
        report.ok(
            f"hub        {newest.origin} ({where}): root note {newest.version} of {moment(newest.issued)}, "
            f"signed by {len(signed)} of {len(newest.roots)} root keys, {newest.threshold} needed"
        )
    if newest is None:
        raise TrustError("there is no root note")
    report.ok(f"online key {newest.online.fingerprint}, named by the root note; it signs statements")
    return newest


def _chain(id: str, member: Member, report: Report) -> History:
    found = history.verified(member.operations)
    report.ok(f"{id:10} first operation {found.state.genesis}: what stays when keys and hubs change")
    for number, signed in enumerate(found.operations):
        operation, state = signed.operation, found.states[number]
        before = found.states[number - 1].control if number else ()
        by = ", ".join(
            f"{_role(key, state.signing, before or state.control)} {key.fingerprint}"
            for key in found.signers(number)
        )
        report.ok(
            f"{id:10} operation {operation.seq}: {operation.action}, {moment(operation.time)}, signed by {by}"
        )
    return found


def _role(key: PublicKey, signing: PublicKey | None, control: tuple[PublicKey, ...]) -> str:
    if key == signing:
        return "its signing key"
    return f"control key {control.index(key) + 1}" if key in control else "its new control key"


def _stated(
    said: Statement, member: Member, found: History, hub: Root | None, report: Report, now: datetime
) -> None:
    if hub is not None:
        statement.verify(member.statement, hub.verifier)
        said.check(found.state)
        report.ok(
            f"{said.id:10} statement of {said.hub}: number {said.seq}, the newest of the operations above; "
            f"from {moment(said.issued)} to {moment(said.expires)}"
        )
        if warning := said.warning(now):
            report.open(f"{said.id:10} {warning}")
        _logged(said, member, hub, report)
    state = found.state
    report.ok(
        f"{said.id:10} signing key {state.signing.fingerprint}"
        if state.signing
        else f"{said.id:10} REVOKED: no key signs for it now"
    )
    for rank, control in enumerate(said.control, 1):
        report.ok(f"{said.id:10} control key {rank} {control.key.fingerprint}, of {control.holder}")


def _logged(said: Statement, member: Member, hub: Root, report: Report) -> None:
    given = member.proof
    if given is None:
        report.open(
            f"{said.id:10} not checked: whether the hub's log has operation {said.seq} (no proof here)"
        )
        return
    log = checkpoint.verify(given.checkpoint, Verifier(hub.origin, hub.online))
    leaf = merkle.leaf(entry.encode(said.id, member.operations[-1]))
    hashes = [decode(each, merkle.HASH) for each in given.hashes[: proof.MAX_HASHES + 1]]
    proof.verify_inclusion(said.index, log.size, leaf, hashes, log.root)
    report.ok(f"{said.id:10} operation {said.seq} is entry {said.index} of the {log.size} in the hub's log")


def _owned(bundle: Bundle, user: History, host: History, report: Report) -> None:
    ids = [statement.parse(member.statement)[0] for member in (bundle.user, bundle.host)]
    owner = ids[1].owner
    if owner is None or (owner.id, owner.genesis) != (ids[0].id, user.state.genesis):
        raise TrustError(f"{ids[1].id} does not belong to {ids[0].id}")
    then = history.taken(host, user)
    by = then.signing.fingerprint if then.signing else ""
    report.ok(
        f"owner      {ids[1].id} belongs to {ids[0].id}, whose signing key {by} signed its first operation"
    )
    former = {key for state in user.states for key in state.control} - set(user.state.control)
    if host.state.control[0] not in user.state.control:
        raise TrustError(
            f"the highest control key of {ids[1].id} is not one of {ids[0].id}: whoever has it owns the host"
        )
    if former.intersection(host.state.control):
        raise TrustError(f"{ids[1].id} still obeys a control key that {ids[0].id} gave up")


def _tls(bundle: Bundle, host: History, report: Report, now: datetime) -> None:
    if not bundle.pin:
        report.open("TLS pin    not checked: there is no nginx/server.pin (the first run makes one)")
        return
    with report.about("TLS pin"):
        if host.state.signing is None:
            raise TrustError("the key that signed it is revoked")
        leaf = parse_certificate(bundle.certificate.encode(errors="replace"), "what is beside it")
        pin = verify_pin(bundle.pin, leaf, host.state.signing, now)
        report.ok(
            f"TLS pin    sha256//{pin.digest}, signed by the host's signing key, to {moment(pin.expires)}"
        )
