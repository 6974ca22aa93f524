"""Who waits for whom, from the states of real services that were never started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib.errors import NotReadyError
from lib.supervisor.child import Children
from lib.supervisor.dependencies import Dependencies
from lib.supervisor.journal import Journal
from lib.supervisor.output import ServiceLog
from lib.supervisor.service import RunningService
from lib.supervisor.spec import Condition, ProcessSpec, ServiceSpec
from lib.supervisor.states import State
from lib.supervisor.surroundings import Surroundings

Make = Callable[..., Dependencies]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(web={"db": "ready"}, db={})`: services of two processes each, all of them wanted and ready."""
    with ExitStack() as stack:

        def made(**depends_on: dict[str, Condition]) -> Dependencies:
            journal = Journal(tmp_path / "journal", {})
            stack.callback(journal.close)
            around = Surroundings(
                var=tmp_path, sockets=tmp_path, environment={}, children=Children(), journal=journal,
                orphaned=lambda: None,
            )  # fmt: skip
            services = {}
            for name, needed in depends_on.items():
                log = ServiceLog(tmp_path / name, 1024, 1)
                stack.callback(log.close)
                processes = tuple(
                    ProcessSpec(service=name, number=number, argv=("x",), cwd="/") for number in (1, 2)
                )
                spec = ServiceSpec(name=name, kind="command", processes=processes, depends_on=needed)
                services[name] = RunningService(spec, log, around, lambda process: None)
                services[name].wanted = True
                put(services[name], "ready", "ready")
            return Dependencies(services, "demo")

        yield made


def put(service: RunningService, *states: State) -> None:
    for process, state in zip(service.processes, states, strict=True):
        process.state = state


def names(services: list[RunningService]) -> list[str]:
    return [service.spec.name for service in services]


def test_with_needed_goes_all_the_way_and_keeps_the_plans_order(make: Make) -> None:
    one = make(a={}, b={"a": "started"}, c={}, d={"b": "ready", "elsewhere": "ready"})
    assert names(one.with_needed([one.services["d"]])) == ["a", "b", "d"]
    assert names(one.with_needed([one.services["c"]])) == ["c"]
    assert names(one.needs(one.services["d"])) == ["b"]


@pytest.mark.parametrize(
    ("condition", "states", "waits"),
    [("started", ("starting", "ready"), False), ("started", ("waiting", "ready"), True),
     ("started", ("backoff", "ready"), True), ("ready", ("starting", "ready"), True),
     ("ready", ("unready", "ready"), True), ("ready", ("ready", "completed"), False),
     ("ready", ("scheduled", "scheduled"), False), ("healthy", ("unready", "ready"), True),
     ("completed", ("failed", "completed"), False), ("completed", ("ready", "completed"), True),
     ("completed_successfully", ("failed", "completed"), True),
     ("completed_successfully", ("completed", "completed"), False)],
)  # fmt: skip
def test_conditions(make: Make, condition: Condition, states: tuple[State, State], waits: bool) -> None:
    one = make(db={}, web={"db": condition})
    put(one.services["db"], *states)
    put(one.services["web"], "waiting", "ready")
    assert bool(one.blockers(one.services["web"])) == waits
    if waits:
        assert one.blockers(one.services["web"]) == [f"db ({one.services['db'].state})"]


def test_whoever_runs_waits_for_nobody(make: Make) -> None:
    one = make(db={}, web={"db": "ready"})
    put(one.services["db"], "backoff", "backoff")
    assert one.blockers(one.services["web"]) == []


def test_up(make: Make) -> None:
    one = make(web={}, job={}, after={"job": "completed"})
    web, job = one.services["web"], one.services["job"]
    assert one.up(web)
    put(web, "ready", "starting")
    assert not one.up(web)
    assert one.up(web, web.processes[:1])
    put(job, "failed", "completed")
    assert one.up(job), "all that depend on it wait for its end, whatever it is"
    put(job, "gave-up", "completed")
    assert not one.up(job)


def test_a_start_that_cannot_succeed_any_more_is_said(make: Make) -> None:
    one = make(db={}, web={"db": "ready"})
    db, web = one.services["db"], one.services["web"]
    one.check(web, web.processes)
    put(db, "gave-up", "ready")
    db.processes[0].reason = "exit code 3"
    with pytest.raises(NotReadyError, match=r"db\.1 did not become ready: exit code 3") as caught:
        one.check(db, db.processes)
    assert (caught.value.service, caught.value.hint) == ("db", "ampzero logs demo db")
    one.check(db, db.processes[1:])
    put(db, "starting", "ready")
    db.processes[0].overdue = True
    with pytest.raises(NotReadyError):
        one.check(db, db.processes)


def test_whoever_waits_for_what_was_stopped_is_told_so(make: Make) -> None:
    one = make(db={}, web={"db": "ready"})
    db, web = one.services["db"], one.services["web"]
    put(db, "stopped", "stopped")
    put(web, "waiting", "waiting")
    db.wanted = False
    with pytest.raises(NotReadyError, match="web waits for db, which was stopped"):
        one.check(web, web.processes)
    web.wanted = False
    one.check(web, web.processes)
