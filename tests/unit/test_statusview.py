from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.statusview import duration, lines


def process(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "number": 1, "state": "ready", "pid": 12, "uptime": 61.0, "restarts": 0, "reason": "",
        "waits_for": [], "ports": [], **more,
    }  # fmt: skip


def service(name: str, *processes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "state": "ready", "dropped_lines": 0, "processes": list(processes), **more}


def status(*services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "demo", "directory": "/nowhere", "state": "ready", "address": "",
        "hub": {"state": "off", "why": "no hub"},
        "nat": {"state": "off", "why": "no nat"}, "services": list(services), **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (0, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (182, "3m 2s"), (3600, "1h"),
        (18060, "5h 1m"), (18061, "5h 1m"), (183600, "2d 3h"), (86400 * 400 + 1, "400d 1s"),
    ],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_table_of_the_processes() -> None:
    shown = lines(
        status(
            service("web", process("web.1"), process("web.2", pid=13456, restarts=3, uptime=1.0)),
            address="https://localhost:8040",
        )
    )
    assert shown == [
        "demo  ready  https://localhost:8040",
        "PROCESS  STATE  PID    UPTIME  RESTARTS  WHY",
        "web.1    ready  12     1m 1s   0",
        "web.2    ready  13456  1s      3",
    ]


def test_what_is_not_announced_is_told_where_there_are_keys(tmp_path: Path) -> None:
    (tmp_path / "ampnode").mkdir()
    (tmp_path / "ampnode/hub.public.key").touch()
    shown = lines({**status(service("web", process("web.1"))), "directory": str(tmp_path)})
    assert shown[3:] == ["hub: off (no hub)", "nat: off (no nat)"]


def test_why_is_the_reason_or_what_it_waits_for() -> None:
    shown = lines(
        status(
            service("db", process("db.1", state="backoff", pid=None, uptime=None, reason="exit code 3")),
            service(
                "web", process("web.1", state="waiting", pid=None, uptime=None, waits_for=["db (backoff)"])
            ),
        )
    )
    assert shown[2].endswith("exit code 3")
    assert shown[3].endswith("waits for db (backoff)")


def test_lost_lines_are_told() -> None:
    shown = lines(status(service("web", process("web.1"), dropped_lines=7)))
    assert shown[-1] == "web: 7 lines of output were lost (is the disk full?)"


def test_no_colours_without_a_terminal_and_no_blanks_at_line_ends() -> None:
    shown = lines(status(service("web", process("web.1", state="gave-up", pid=None, uptime=None))))
    assert not any("\x1b" in line for line in shown)
    assert all(line == line.rstrip() for line in shown)


def test_an_instance_without_services() -> None:
    assert lines(status())[0] == "demo  ready"
