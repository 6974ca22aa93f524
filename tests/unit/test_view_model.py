"""What the full-screen view shows, without a screen: rows, columns, chains of blockers, lines of the log."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UsageError
from lib.logs.record import Record
from lib.view import actions, blockers, model
from lib.view.lines import DROP, Lines, found_in, line
from lib.view.titles import head, log_title


def process(name: str, state: str = "ready", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "number": int(name.rpartition(".")[2]), "pid": 100 if state == "ready" else None,
        "state": state, "uptime": 61.0 if state == "ready" else None, "restarts": 0, "reason": "",
        "waits_for": [], "ports": [], **more,
    }  # fmt: skip


def service(name: str, *processes: dict[str, Any], **more: Any) -> dict[str, Any]:
    parts = list(processes) or [process(f"{name}.1")]
    return {"name": name, "state": parts[0]["state"], "reason": "", "restarts": 0, "processes": parts, **more}


def status(*services: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "demo", "state": "ready", "address": "", "since": "2026-11-20T21:05:35.123456Z",
        "services": list(services),
    }  # fmt: skip


def record(text: bytes, stream: str = "out", number: int = 1, sequence: int = 0) -> Record:
    return Record("2026-11-20T21:05:35.123456Z", "web", number, stream, sequence, text)


def test_a_service_with_one_process_is_one_row_and_with_several_has_each_below_it() -> None:
    found = model.rows(status(service("db"), service("web", process("web.1"), process("web.2"))))
    assert [row.key for row in found] == ["", "db", "web", "web.1", "web.2"]
    assert found[1].pid == 100
    assert found[2].pid is None
    assert found[2].processes == 2
    assert found[3].label == "  web.1"


def test_use_is_summed_and_unknown_stays_unknown() -> None:
    web = service("web", process("web.1", cpu=1.5, memory=10), process("web.2", cpu=2.0, memory=20))
    everything, row, *_ = model.rows(status(web, service("db", process("db.1", "stopped"))))
    assert (row.cpu, row.memory) == (3.5, 30)
    assert (everything.cpu, everything.memory) == (3.5, 30)
    assert everything.why == "2 of 3 are well"
    assert model.rows(status(service("db")))[1].cpu is None


def test_the_reason_stands_before_what_it_waits_for() -> None:
    waiting = process("api.1", "waiting", waits_for=["db (starting)"])
    failed = process("job.1", "failed", reason="exit code 3", waits_for=["db (ready)"])
    rows = model.rows(status(service("api", waiting), service("job", failed)))
    assert [row.why for row in rows[1:]] == ["waits for db (starting)", "exit code 3"]


def test_a_schedule_a_probe_and_an_adoption_are_told() -> None:
    one = service("job", process("job.1", "scheduled", adopted=False), schedule="*/5 * * * *", probe="")
    two = service("redis", process("redis.1", adopted=True), probe="master, 1.2M")
    rows = model.rows(status(one, two))
    assert rows[1].why == "*/5 * * * *"
    assert rows[2].why == "taken back after a crash of the supervisor; master, 1.2M"


@pytest.mark.parametrize(("memory", "shown"), [
    (None, ""), (0, "0K"), (812 * 1024, "812K"), (34 << 20, "34M"), (1288490189, "1.2G"),
])  # fmt: skip
def test_sizes(memory: int | None, shown: str) -> None:
    assert model.size(memory) == shown


@pytest.mark.parametrize(("cpu", "shown"), [(None, ""), (0.04, "0.0%"), (9.94, "9.9%"), (250.4, "250%")])
def test_percents(cpu: float | None, shown: str) -> None:
    assert model.percent(cpu) == shown


@given(st.integers(10, 200), st.text(max_size=60), st.integers(1, 40))
def test_the_columns_fit_into_every_width(width: int, why: str, name: int) -> None:
    rows = model.rows(status(service("w" * name, process("w.1", reason=why))))
    columns = model.layout(rows, width)
    assert columns[0][0].heading == "SERVICE"
    taken = sum(space + model.GAP for _, space in columns)
    names = [column.heading for column, _ in columns]
    if width >= 60:
        assert taken <= width + model.GAP
        assert names[-1] == "WHY"
    if width >= 120 and name <= 24:
        assert {"PID", "CPU", "MEM", "RESTARTS", "UPTIME"} <= set(names)


def test_narrow_gives_up_the_pid_first() -> None:
    rows = model.rows(status(service("web", process("web.1", reason="a long reason that needs its room"))))
    assert "PID" in [column.heading for column, _ in model.layout(rows, 110)]
    names = [column.heading for column, _ in model.layout(rows, 78)]
    assert "PID" not in names
    assert "CPU" in names


def chain() -> dict[str, Any]:
    return status(
        service("web", process("web.1", "waiting", waits_for=["api (waiting)", "redis (starting)"])),
        service("api", process("api.1", "waiting", waits_for=["db (failed)"])),
        service("redis", process("redis.1", "starting", reason="not ready yet")),
        service("db", process("db.1", "failed", reason="exit code 3")),
        service("other"),
    )


def test_the_tree_of_blockers_ends_with_the_reason() -> None:
    found = [(knot.branch + knot.name, knot.state, knot.why) for knot in blockers.tree(chain())]
    assert found == [
        ("web", "waiting", "waits for:"),
        ("├─ api", "waiting", "waits for:"),
        ("│  └─ db", "failed", "exit code 3"),
        ("└─ redis", "starting", "not ready yet"),
    ]


def test_nothing_wrong_is_an_empty_tree_and_what_is_unknown_or_a_circle_does_no_harm() -> None:
    assert blockers.tree(status(service("web"))) == []
    circle = status(
        service("top", process("top.1", "waiting", waits_for=["a (waiting)", "gone (waiting)"])),
        service("a", process("a.1", "waiting", waits_for=["b (waiting)"])),
        service("b", process("b.1", "waiting", waits_for=["a (waiting)"])),
    )
    assert [knot.name for knot in blockers.tree(circle)] == ["top", "a", "b", "gone"]


def test_lines_are_harmless_and_bounded() -> None:
    assert line(record(b"a\tb\x1b[2J\x07\xff\r")).text == "a       b?[2J?\ufffd"
    assert line(record(b"\x1b[31mred\x1b[0m")).plain == "red"
    assert line(record(b"x" * 10_050)).text.endswith("… (50 more characters)")
    assert line(record(b"", number=0)).who == "web"


def test_without_a_capital_the_case_does_not_matter() -> None:
    assert found_in("Error error", "error") == [(0, 5), (6, 11)]
    assert found_in("Error error", "Error") == [(0, 5)]
    assert found_in("a.b*c", ".b*") == [(1, 4)]
    assert found_in("text", "") == []


def test_the_filter_holds_for_old_and_new_lines() -> None:
    held = Lines()
    held.add([record(b"one"), record(b"two")])
    held.set_filter("on")
    held.add([record(b"three"), record(b"stone")])
    assert [each.plain for each in held.shown] == ["one", "stone"]
    held.search = "st"
    assert held.hits() == [1]
    held.set_filter("")
    assert len(held.shown) == 4


def test_the_oldest_lines_go_and_are_counted() -> None:
    held = Lines(kept=1000)
    held.set_filter("even")
    assert held.add([record(b"even" if number % 2 == 0 else b"odd") for number in range(1000)]) == 0
    assert held.add([record(b"even")]) == DROP // 2
    assert len(held.shown) == 500 - DROP // 2 + 1


def test_what_is_asked_of_the_supervisor() -> None:
    everything, web, first, _ = model.rows(status(service("web", process("web.1"), process("web.2"))))
    assert actions.start(first).arguments == {"services": ["web.1"]}
    assert actions.stop(web).arguments == {"services": ["web"]}
    assert not actions.stop(web).question
    assert actions.stop(everything).question
    assert actions.stop(everything).arguments == {"services": []}
    assert actions.restart(web, rolling=True).arguments == {"services": ["web"], "rolling": True}
    assert actions.scale(first, 3).arguments == {"service": "web", "processes": 3}
    assert actions.scale(first, 1).done == "web: 1 process"


def test_one_process_more_or_fewer() -> None:
    shown = status(service("web", process("web.1"), process("web.2")), service("db"))
    everything, _, first, _, db = model.rows(shown)
    assert actions.scale_by(first, shown, 1).arguments["processes"] == 3
    assert actions.scale_by(first, shown, -1).arguments["processes"] == 1
    with pytest.raises(UsageError, match="the least"):
        actions.scale_by(db, shown, -1)
    with pytest.raises(UsageError, match="select"):
        actions.scale_by(everything, shown, 1)


def test_the_head_says_when_the_supervisor_is_gone() -> None:
    assert "not running" in head("demo", status(), 3.0, 80).plain
    assert "connecting" in head("demo", {}, None, 80).plain
    shown = head("demo", {**status(), "address": "https://localhost:8040"}, None, 80).plain
    assert len(shown) < 80
    assert "https://localhost:8040" in shown


@given(st.integers(0, 130), st.booleans(), st.booleans())
def test_the_title_of_the_log_never_fails(width: int, paused: bool, at_end: bool) -> None:
    row = model.rows(status(service("web", process("web.1", "failed", reason="exit code 3" * 20))))[1]
    held = Lines()
    shown = log_title(row, log=True, paused=paused, at_end=at_end, lines=held, width=width).plain
    if width >= 50:
        assert len(shown) <= width
        assert ("paused" in shown) == paused
