from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lib.supervisor.change import Change, changes
from lib.supervisor.spec import Limits, Plan, Probe, ProcessSpec, Restart, ServiceSpec, Stop

NAMES = ("a", "b", "c", "d")


@st.composite
def services(draw: st.DrawFn, name: str) -> ServiceSpec:
    """A service whose processes differ in their number only, as those that the services make."""
    like = ProcessSpec(
        service=name, number=1, argv=(draw(st.sampled_from(["x", "y"])),), cwd="/",
        env=draw(st.sampled_from([{}, {"A": "1"}])), listen=draw(st.sampled_from([(), ("127.0.0.1:80",)])),
        ready=draw(st.sampled_from([None, Probe(kind="notify")])), pty=draw(st.booleans()),
        limits=draw(st.sampled_from([Limits(), Limits(nice=1)])),
    )  # fmt: skip
    return ServiceSpec(
        name=name, kind=draw(st.sampled_from(["command", "nginx"])),
        processes=tuple(
            msgspec.structs.replace(like, number=number) for number in range(1, 1 + draw(st.integers(0, 3)))
        ),
        depends_on=draw(st.sampled_from([{}, {"z": "ready"}])),
        restart=draw(st.sampled_from([Restart(), Restart(policy="never")])),
        stop=draw(st.sampled_from([Stop(), Stop(timeout=1.0)])),
        schedule=draw(st.sampled_from(["", "* * * * *"])),
        files=draw(st.sampled_from([{}, {"/f": "1"}, {"/f": "2"}])),
        reload=draw(st.sampled_from(["", "HUP"])),
    )  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return Plan(
        name="x", directory="/", var="/", sockets="/", services=tuple(draw(services(name)) for name in names)
    )


def carried_out(old: Plan, found: list[Change], new: Plan) -> dict[str, ServiceSpec]:
    """What runs after `found`, as lib/supervisor/updating.py does it: each action changes just so much."""
    running = {service.name: service for service in old.services}
    wanted = {service.name: service for service in new.services}
    for change in found:
        spec = wanted.get(change.service)
        if change.action == "remove":
            del running[change.service]
            continue
        assert spec is not None
        before = running.get(change.service)
        if change.action in ("add", "replace"):
            running[change.service] = spec
            continue
        assert before is not None
        kept = before.processes
        if change.action == "scale":
            # What both have is not touched; only the others come and go.
            kept = (*before.processes[: len(spec.processes)], *spec.processes[len(before.processes) :])
        files = spec.files if change.action == "reload" else before.files
        running[change.service] = msgspec.structs.replace(spec, processes=kept, files=files, kind=before.kind)
    return running


@given(plans(), plans())
def test_the_changes_lead_to_the_new_plan(old: Plan, new: Plan) -> None:
    found = changes(old, new)
    assert carried_out(old, found, new) == {service.name: service for service in new.services}
    assert len({change.service for change in found}) == len(found)


@given(plans())
def test_a_plan_does_not_differ_from_itself(plan: Plan) -> None:
    again = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert changes(plan, again) == []


@given(plans(), plans())
def test_what_goes_comes_first_and_in_reverse(old: Plan, new: Plan) -> None:
    found = changes(old, new)
    removed = [change.service for change in found if change.action == "remove"]
    after = {service.name for service in new.services}
    assert [change.service for change in found[: len(removed)]] == removed
    assert removed == [service.name for service in reversed(old.services) if service.name not in after]


def service(**changed: object) -> ServiceSpec:
    process = ProcessSpec(service="web", number=1, argv=("x",), cwd="/", env={"A": "1"})
    return msgspec.structs.replace(ServiceSpec(name="web", kind="command", processes=(process,)), **changed)


def plan_of(*some: ServiceSpec) -> Plan:
    return Plan(name="x", directory="/", var="/", sockets="/", services=some)


def test_a_service_shrank_before_those_that_send_to_it_were_told() -> None:
    process = service().processes[0]
    many = tuple(msgspec.structs.replace(process, number=number) for number in (1, 2, 3))
    front = ServiceSpec(
        name="front", kind="nginx", processes=(msgspec.structs.replace(process, service="front"),),
        depends_on={"web": "ready"}, files={"/f": "1"}, reload="HUP",
    )  # fmt: skip
    told = msgspec.structs.replace(front, files={"/f": "2"})
    alone = msgspec.structs.replace(told, depends_on={})
    for before, after, order in (
        ((service(processes=many), front), (service(), told), ["reload front", "scale web"]),
        ((service(), front), (service(processes=many), told), ["scale web", "reload front"]),
        ((service(processes=many), front), (alone,), ["reload front", "remove web"]),
        ((service(processes=many), front), (service(), front), ["scale web"]),
    ):
        found = changes(plan_of(*before), plan_of(*after))
        assert [f"{change.action} {change.service}" for change in found] == order


def test_each_says_why() -> None:
    process = service().processes[0]
    other = msgspec.structs.replace(process, argv=("y",), env={})
    two = (process, msgspec.structs.replace(process, number=2))
    with_file = service(files={"/f": "1"}, reload="HUP")
    assert [str(change) for change in changes(plan_of(service()), plan_of())] == ["remove web"]
    for before, after, words in (
        (service(), service(processes=(other,)), "replace web: argv, env"),
        (service(), service(kind="nginx"), "replace web: kind"),
        (service(), service(processes=two), "scale web: 1 -> 2 processes"),
        (service(), service(stop=Stop(timeout=1.0), schedule="* * * * *"), "adjust web: stop, schedule"),
        (with_file, service(files={"/f": "2"}, reload="HUP"), "reload web: /f"),
        (service(files={"/f": "1"}), service(files={"/f": "2"}), "replace web: /f"),
    ):
        assert [str(change) for change in changes(plan_of(before), plan_of(after))] == [words]
