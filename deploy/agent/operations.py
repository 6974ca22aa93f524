"""The table of what an agent can be asked for: requests are checked, and locks taken. The work is elsewhere.

A request that names an epoch is heard only when that is the promised one, and counts as being heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from deploy.agent import (
    audit,
    blobs,
    bootstart,
    clean,
    decide,
    durable,
    facts,
    history,
    keyspace,
    live,
    promise,
    settings,
    setup,
    stage,
)
from deploy.agent.call import Call, Events
from deploy.agent.driver import Drivers
from deploy.agent.errors import AgentError
from deploy.agent.fanout import fetch, serve
from deploy.agent.journal import Journal
from deploy.agent.layout import SHA256, Layout
from deploy.agent.logs import stream
from deploy.agent.owner import become_owner

Work = Callable[[Call], dict[str, Any]]


class Operation(Protocol):
    """What a request names. `drivers` are the warm tools of the connection that it came on."""

    def __call__(
        self,
        layout: Layout,
        request: dict[str, Any],
        body: bytes,
        events: Events,
        drivers: Drivers | None = None,
    ) -> dict[str, Any]:
        """The answer. Raises: AgentError, OSError."""


LOCK_TIME = 120.0
"""Seconds to wait for a step that is under way: the start of a release, above all."""
EPOCH_LOCK_TIME = 10.0
HEARD_EVERY = 1.0
RECORDS = 100
USAGE, NOT_READY = 2, 6


def _reading(work: Work) -> Operation:
    """An operation that changes nothing."""

    def operation(
        layout: Layout, request: dict[str, Any], body: bytes, events: Events, drivers: Drivers | None = None
    ) -> dict[str, Any]:
        with Call(layout, request, body, events, drivers) as call:
            return work(call)

    return operation


def _changing(work: Work, *, epoch: bool = True, lock: bool = True) -> Operation:
    """An operation as the owner of the root folder, of the promised epoch, with the host's lock."""

    def operation(
        layout: Layout, request: dict[str, Any], body: bytes, events: Events, drivers: Drivers | None = None
    ) -> dict[str, Any]:
        become_owner(layout)
        facts.host(layout)
        with Call(layout, request, body, events, drivers) as call:
            if not lock:
                return work(call)
            with durable.locked(layout.lock, LOCK_TIME):
                if epoch:
                    promise.require(layout, call.number("epoch"))
                    heard(layout)
                answer = work(call)
                if epoch:
                    heard(layout)
                return answer

    return operation


def heard(layout: Layout) -> None:
    """Note that the coordinator was heard, for the keeper; at most once a second."""
    with durable.storage(layout.heard):
        try:
            if 0 <= time.time() - layout.heard.stat().st_mtime < HEARD_EVERY:
                return
        except FileNotFoundError:
            pass
        layout.heard.touch(mode=0o600)


def _hello(call: Call) -> dict[str, Any]:
    return facts.hello(call.layout)


def _status(call: Call) -> dict[str, Any]:
    found = facts.hello(call.layout)
    become_owner(call.layout)
    services = call.control.status() if found["current"] else None
    return {**found, "audit": audit.last_line(call.layout), "services": services,
            "keeper": durable.is_held(call.layout.keeper_lock)}  # fmt: skip


def _setup(call: Call) -> dict[str, Any]:
    return {"did": setup.set_up(call.layout, call.request, call.say)}


def _promise(call: Call) -> dict[str, Any]:
    epoch = call.number("epoch")
    with durable.locked(call.layout.state / "epoch-lock", EPOCH_LOCK_TIME):
        promise.promise(call.layout, epoch, call.text("coordinator", 100))
    heard(call.layout)
    return {"epoch": epoch}


def _ping(call: Call) -> dict[str, Any]:
    promise.require(call.layout, call.number("epoch"))
    heard(call.layout)
    return {}


def _stage(call: Call) -> dict[str, Any]:
    need = stage.accept(call.layout, call.text("manifest"), call.text("signature"), call.number("epoch"))
    return {"need": need}


def _put(call: Call) -> dict[str, Any]:
    sha256 = call.text("sha256", 64)
    if not SHA256.match(sha256):
        raise AgentError("the request's sha256 is none", "", USAGE)
    _, manifest = stage.staged(call.layout)
    return {"have": blobs.put(call.layout, manifest, sha256, call.number("offset"), call.body)}


def _unpack(call: Call) -> dict[str, Any]:
    entry, manifest = stage.staged(call.layout)
    if entry.at_least("COMMITTED"):
        return {"trees": [tree.name for tree in manifest.trees[facts.platform()].values()]}
    return {"trees": blobs.unpack(call.layout, manifest, facts.platform())}


def _secrets(call: Call) -> dict[str, Any]:
    stage.take_secret(call.layout, call.text("path", 4096), call.body)
    return {}


def _settings(call: Call) -> dict[str, Any]:
    entry, manifest = stage.staged(call.layout)
    groups = settings.parse(call.body)
    if not entry.at_least("PREPARED"):
        settings.take(call.layout, manifest.instance, groups)
    return {}


def _hook(call: Call) -> dict[str, Any]:
    argv = call.request.get("argv")
    if argv is not None and not (isinstance(argv, list) and all(isinstance(word, str) for word in argv)):
        raise AgentError("the request's argv is no list of words", "", USAGE)
    role = call.text("role", 256) if "role" in call.request else ""
    return {"code": stage.run_hook(call.layout, call.text("which", 40), argv, role, call.say)}


def _prepare(call: Call) -> dict[str, Any]:
    stage.prepare(call.layout, call.control, call.number("epoch"))
    return {}


def _decide(call: Call) -> dict[str, Any]:
    decision = call.text("decision"), call.text("signature")
    with durable.locked(call.layout.state / "epoch-lock", EPOCH_LOCK_TIME):
        kept = decide.keep(call.layout, *decision)
    with durable.locked(call.layout.lock, EPOCH_LOCK_TIME):
        decide.act(call.layout, call.switch, kept, stands=call.request.get("durable") is True)
    heard(call.layout)
    return {}


def _close(call: Call) -> dict[str, Any]:
    call.switch.close()
    return {}


def _swap(call: Call) -> dict[str, Any]:
    call.switch.swap()
    return {}


def _start(call: Call) -> dict[str, Any]:
    call.switch.start()
    return {}


def _open(call: Call) -> dict[str, Any]:
    call.switch.open()
    return {}


def _finish(call: Call) -> dict[str, Any]:
    bootstart.place_agent(call.layout)
    return {"audit": call.switch.finish()}


def _abort(call: Call) -> dict[str, Any]:
    call.switch.abort("it was given up by its coordinator")
    return {}


def _healthy(call: Call) -> dict[str, Any]:
    promise.require(call.layout, call.number("epoch"))
    heard(call.layout)
    now = live.current(call.layout)
    why = call.control.unwell(now.release, is_open=True) if now else "nothing was deployed here"
    if why:
        raise AgentError(f"not healthy: {why}", "", NOT_READY)
    return {}


def _manifest(call: Call) -> dict[str, Any]:
    text, signature = stage.kept_manifest(call.layout, call.text("release", 64))
    return {"manifest": text, "signature": signature}


def _record(call: Call) -> dict[str, Any]:
    history.add(call.layout, call.request.get("entry"))
    return {}


def _history(call: Call) -> dict[str, Any]:
    return {"deploys": history.deploys(call.layout)}


def _logs(call: Call) -> dict[str, Any]:
    become_owner(call.layout)
    facts.host(call.layout)
    return stream(call.layout, call.request, call.tell)


def _keyspace(call: Call) -> dict[str, Any]:
    become_owner(call.layout)
    return {"members": keyspace.members(call.layout, facts.host(call.layout)["instance"])}


def _clean(call: Call) -> dict[str, Any]:
    return {"removed": clean.clean(call.layout)}


def _journal(call: Call) -> dict[str, Any]:
    return {"states": [entry.state for entry in Journal(call.layout.journal).entries()][-RECORDS:]}


OPERATIONS: dict[str, Operation] = {
    "hello": _reading(_hello),
    "status": _reading(_status),
    "history": _reading(_history),
    "audit": _reading(lambda call: audit.verify(call.layout)),
    "logs": _reading(_logs),
    "journal": _reading(_journal),
    "keyspace": _reading(_keyspace),
    "manifest": _reading(_manifest),
    "setup": _reading(_setup),
    "promise": _changing(_promise, lock=False),
    "ping": _changing(_ping, lock=False),
    "decide": _changing(_decide, lock=False),
    "healthy": _changing(_healthy, lock=False),
    "stage": _changing(_stage),
    "put": _changing(_put),
    "relay": _changing(lambda call: serve(call.layout, call.request)),
    "pull": _changing(lambda call: fetch(call.layout, call.request)),
    "unpack": _changing(_unpack),
    "secrets": _changing(_secrets),
    "settings": _changing(_settings),
    "hook": _changing(_hook),
    "prepare": _changing(_prepare),
    "close": _changing(_close),
    "swap": _changing(_swap),
    "start": _changing(_start),
    "open": _changing(_open),
    "finish": _changing(_finish),
    "abort": _changing(_abort),
    "record": _changing(_record, epoch=False),
    "clean": _changing(_clean, epoch=False),
}
