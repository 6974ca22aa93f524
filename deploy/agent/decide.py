"""Decisions: kept by every host for all, acted upon by those that take part."""

from __future__ import annotations

from deploy.agent import durable, facts, promise
from deploy.agent.errors import AgentError
from deploy.agent.journal import Journal
from deploy.agent.layout import Layout
from deploy.agent.manifest import Decision, verify
from deploy.agent.switch import Switch

REFUSED = 11


def keep(layout: Layout, text: str, signature: str) -> Decision:
    """Keep a signed decision, on the disk before this returns. The caller holds the lock of the epoch.

    Raises: AgentError where another was made, or a higher epoch was promised.
    """
    raw = text.encode()
    verify(raw, signature, layout.allowed_signers)
    decision = Decision.parse(raw)
    host = facts.host(layout)
    if (decision.instance, decision.environment) != (host["instance"], host["environment"]):
        raise AgentError("this decision is not about this host's instance", "", REFUSED)
    if decision.epoch > promise.promised(layout).epoch:
        promise.promise(layout, decision.epoch, "")
    promise.require(layout, decision.epoch)
    _write(layout, decision, text, signature)
    return decision


def _write(layout: Layout, decision: Decision, text: str, signature: str) -> None:
    durable.make_folder(layout.decisions)
    path = layout.decisions / str(decision.epoch)
    kept = durable.read_json(path)
    if kept is None:
        durable.write_json(path, {"decision": text, "signature": signature})
        return
    known = Decision.parse(str(kept.get("decision", "")).encode())
    if (known.release, known.sequence, known.commit) != (
        decision.release,
        decision.sequence,
        decision.commit,
    ):
        raise AgentError(f"another decision was made in the epoch {decision.epoch}", "", REFUSED)


def act(layout: Layout, switch: Switch, decision: Decision, *, stands: bool) -> None:
    """Go by a kept decision where this host takes part; `stands`: a majority of the hosts has it.

    Raises: AgentError where it is not for one in this host's state. The caller holds the host's lock.
    """
    if facts.host(layout)["name"] not in decision.hosts:
        return
    journal = Journal(layout.journal)
    entry = journal.last()
    is_mine = entry and (entry.release, entry.sequence) == (decision.release, decision.sequence)
    if entry is None or not is_mine or entry.ended:
        return
    if not decision.commit:
        if entry.state == "COMMITTED" and decision.epoch <= entry.epoch:
            raise AgentError(f"the epoch {entry.epoch} has decided otherwise", "", REFUSED)
        switch.abort("it was given up by its coordinator")
    elif entry.state == "STAGED":
        raise AgentError("this host has not prepared, and cannot take part", "deploy again")
    elif stands and not entry.at_least("DURABLE"):
        journal.step("DURABLE", epoch=decision.epoch)
    elif not entry.at_least("COMMITTED"):
        journal.step("COMMITTED", epoch=decision.epoch)
