"""The TLS files of an instance's runs: the local CA's leaf, the user's own files, or a certificate by ACME.

Judging a certificate loads the whole of the cryptography library. What was found is therefore recorded with
the times and sizes of the files, and is looked at again only when one of them changes or a renewal is due.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from keys.datafolder import data_folder
from lib.certificates import Certificates
from lib.config import Tls
from lib.errors import AmpzeroError
from lib.files import make_folder, write_atomic
from lib.instance import Instance

RECORD = "certificates.json"
FIRST_WAIT, LONGEST_WAIT = 60.0, 6 * 3600.0
"""Seconds until a renewal that failed is tried again: they double from the first to the longest."""
LEAST_WAIT = 5.0


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found out. Times are seconds since 1970.

    `settings` tells for which amprun.yaml, `states` for which files; `due` when something is to be done;
    `watched` are files of the user that are noticed when others take their place.
    """

    settings: str
    certificate: str
    key: str
    leaf: str
    leaf_key: str
    states: dict[str, list[int]]
    source: str
    names: list[str]
    expires: float
    due: float
    watched: list[str] = []
    problem: str = ""
    failures: int = 0


def certify(instance: Instance) -> Certificates:
    """The TLS files of a run that begins now. No network is asked: before the first certificate by ACME, and
    where that is damaged, browsers are shown the local CA's.

    Raises: ConfigError about the user's own files; StorageError, TrustError, AmpzeroError.
    """
    found = read(folder_of(instance) / RECORD)
    if found is None or not _holds(found, instance):
        found = judge(instance, found)
    return _certificates(found, instance)


def folder_of(instance: Instance) -> Path:
    """Where the TLS files of the instance's runs are; 0700."""
    return instance.state / "tls"


def settings_of(instance: Instance) -> str:
    """A digest of what amprun.yaml says about certificates."""
    said = (instance.name, str(instance.directory), instance.config.tls)
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16]


def leaf_names(name: str) -> list[str]:
    """The names in the leaf of the instance `name`."""
    return ["localhost", f"{name.replace('_', '-')}.ampzero.internal"]


def judge(instance: Instance, before: Record | None = None, *, anew: bool = False, new_key: bool = False,
          passphrase: str = "") -> Record:  # fmt: skip
    """Look at everything, renew what the local CA can renew (`anew`: also what is not due), and record it.

    Raises: as certify.
    """
    from keys.tls.authority import Authority
    from keys.tls.leaf import current_leaf, issue_leaf
    from keys.tls.pin import renew_pin
    from keys.tls.serving import serving

    folder, own = folder_of(instance), instance.directory / "nginx/server.cert"
    make_folder(folder, 0o700)
    ca, names = Authority.open(), leaf_names(instance.name)
    if anew:
        leaf = issue_leaf(own, folder / "leaf", names, ca, new_key=new_key)
    else:
        leaf = current_leaf(own, folder / "leaf", names, ca)
    try:
        unpinned = renew_pin(leaf.certificate, instance.directory / "ampnode", folder, passphrase)
    except AmpzeroError as error:
        if passphrase:
            raise
        unpinned = f"server.pin is not signed again: {error.message}"  # a run needs no pin
    shown = serving(instance, folder, leaf, ca.ca_file)
    # When an earlier attempt has failed, its next one stays; else now is as good as any other time.
    failures = before.failures if before and before.settings == settings_of(instance) else 0
    waits = before.due if before and failures else 0.0
    watched = [str(path) for path in shown.watched]
    # A host's new signing key means a new pin.
    signers = (instance.directory / "ampnode").glob("host-*.private.key")
    files = (*leaf, *shown.pair, ca.ca_file, *shown.watched, *signers)
    record = Record(
        settings=settings_of(instance), source=shown.source, names=list(shown.names), watched=watched,
        certificate=str(shown.pair.certificate), key=str(shown.pair.key),
        leaf=str(leaf.certificate), leaf_key=str(leaf.key),
        states={str(path): _state(path) for path in files},
        expires=shown.expires, due=min(shown.leaf_due, max(shown.due, waits)), failures=failures,
        problem=(before.problem if before and failures else "") or shown.problem or unpinned,
    )  # fmt: skip
    write(folder / RECORD, record)
    return record


def renew(
    instance: Instance, *, anew: bool = False, new_key: bool = False, passphrase: str = ""
) -> Certificates:
    """Renew what is due (`anew`: all), and tell the files. What there is stays where that fails.

    With ACME the instance must be running: its nginx answers the server.

    Raises: as certify; UnreachableError and others of the ACME server.
    """
    path = folder_of(instance) / RECORD
    before = read(path)
    if before is not None and not anew and _holds(before, instance):
        return _certificates(before, instance)
    try:
        if instance.config.tls.acme is not None:
            from keys.tls.acmerenewal import renew_by_acme

            leaf = judge(instance, before, anew=anew, new_key=new_key, passphrase=passphrase).leaf_key
            renew_by_acme(instance, folder_of(instance), Path(leaf), anew=anew)
            anew = False
        clean = msgspec.structs.replace(before, failures=0, problem="") if before else None
        return _certificates(
            judge(instance, clean, anew=anew, new_key=new_key, passphrase=passphrase), instance
        )
    except AmpzeroError as error:
        if known := read(path) or before:
            with suppress(AmpzeroError):
                write(path, failed(known, error.message))
        raise


def failed(record: Record, problem: str) -> Record:
    """The record after one more attempt that failed."""
    failures = record.failures + 1
    wait = min(FIRST_WAIT * 2 ** min(failures - 1, 20), LONGEST_WAIT)
    if (left := record.expires - time.time()) > 0:
        # What is about to end does not wait beyond its end.
        wait = min(wait, max(left / 4, LEAST_WAIT))
    return msgspec.structs.replace(
        record, failures=failures, problem=problem, due=time.time() + wait * spread(0.8, 1.2)
    )


def spread(least: float, most: float) -> float:
    """A number between the two: what many instances do should not fall on one moment."""
    import secrets

    return least + (most - least) * secrets.randbelow(10_000) / 10_000


def read(path: Path) -> Record | None:
    """The record in a file; None for a file that holds none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write(path: Path, record: Record) -> None:
    """Write it where it is looked for.

    Raises: StorageError.
    """
    write_atomic(path, msgspec.json.encode(record), 0o600)


def make_first(folder: Path, name: str, passphrase: str = "") -> None:
    """The certificate that the instance in `folder` has until its first renewal: nginx/server.cert, its key,
    and the pin of that, which the host's key signs.

    Raises: StorageError, TrustError, PassphraseError, AmpzeroError.
    """
    from keys.tls.authority import Authority
    from keys.tls.leaf import ADDRESSES, beside
    from keys.tls.pin import renew_pin

    pair = beside(folder / "nginx/server.cert")
    Authority.open().issue(*pair, leaf_names(name), ADDRESSES)
    renew_pin(pair.certificate, folder / "ampnode", pair.certificate.parent, passphrase)


def remember_first(instance: Instance) -> None:
    """After `init`: what was made just now is good, so that the first run need not look.

    Raises: as certify.
    """
    # The folder of another instance's runs, of the same name, is not ours to write into.
    if not instance.state.exists() and instance.config.tls == Tls():
        make_folder(instance.var)
        make_folder(instance.state, 0o700)
        judge(instance)


def _holds(record: Record, instance: Instance) -> bool:
    authority = str(data_folder() / "ca/ca.pem")
    if record.settings != settings_of(instance) or authority not in record.states:
        return False
    return time.time() < record.due and _same(record.states.items())


def _same(states: Iterable[tuple[str, list[int]]]) -> bool:
    try:
        return all(_state(Path(path)) == state for path, state in states)
    except OSError:
        return False


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def _certificates(record: Record, instance: Instance) -> Certificates:
    acme = instance.config.tls.acme
    return Certificates(
        Path(record.certificate), Path(record.key), Path(record.leaf), Path(record.leaf_key),
        challenges=folder_of(instance) / "challenges" if acme else None, settings=record.settings,
    )  # fmt: skip
