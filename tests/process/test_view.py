"""The full-screen view at a real supervisor: by Textual's pilot, and in a real terminal (tmux)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from running_support import Running
from support import Ampzero
from terminal_support import terminal

pytest.importorskip("textual")

from textual.pilot import Pilot
from textual.widgets import Static

from lib.loader import open_instance
from lib.view.app import STOP, View
from lib.view.table import ProcessTable

SERVICES = f"""
services:
  web:
    command: [{sys.executable}, web.py]
    processes: 2
  gate:
    command: sleep 1000
    ready: {{exec: [test, -f, gate.open], interval: 100ms}}
  api:
    command: sleep 1000
    depends_on: {{gate: ready}}
"""
WEB = """
import itertools, os, time
print(f"web {os.environ['AMPZERO_PROCESS']} began", flush=True)
for number in itertools.count():
    print(f"request {number} " + ("slow" if number == 3 else "fast"), flush=True)
    time.sleep(0.2)
"""
Check = Callable[[View, "Pilot[str]"], Coroutine[Any, Any, None]]


@pytest.fixture
def demo(make_running: Callable[..., Running]) -> Running:
    """An instance with two processes of one service, and a service that waits for another."""
    return make_running(SERVICES, {"web.py": WEB, "gate.open": ""}).start()


def drive(demo: Running, check: Check, size: tuple[int, int] = (80, 24)) -> View:
    """Run the view without a terminal and `check` it; the view when it ended."""

    async def whole() -> View:
        view = View(open_instance(str(demo.folder)))
        async with view.run_test(size=size) as pilot:
            await until(pilot, lambda: view.row is not None)
            await check(view, pilot)
        return view

    return asyncio.run(whole())


async def until(pilot: Pilot[str], condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, screen(pilot.app)
        await pilot.pause(0.05)


def screen(app: Any) -> str:
    """The text on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in line) for line in app.screen._compositor.render_strips()
    )


def shown(view: View, name: str) -> str:
    return str(view.query_one(f"#{name}", Static).content)


def test_it_shows_every_process_and_follows_the_log_of_the_selected(demo: Running) -> None:
    async def check(view: View, pilot: Pilot[str]) -> None:
        await until(pilot, lambda: "web.2" in screen(view))
        for name in ("everything", "web.1", "web.2", "gate", "api", "ready"):
            assert name in screen(view)
        await pilot.press("down", "down")
        assert view.row and view.row.key == "web.1"
        await until(pilot, lambda: "web web.1 began" in {line.plain for line in view.pane.lines.shown})
        assert not any("web.2" in line.plain for line in view.pane.lines.shown)
        before = len(view.pane.lines.shown)
        await until(pilot, lambda: len(view.pane.lines.shown) > before + 2)
        await until(pilot, lambda: view.row and view.row.memory)

    drive(demo, check)


def test_search_filter_pause_and_wrap(demo: Running) -> None:
    async def check(view: View, pilot: Pilot[str]) -> None:
        await pilot.press("down", "down")
        await until(pilot, lambda: len(view.pane.lines.shown) > 6)
        await pilot.press("slash", *"fast/", "enter")
        assert "no line has 'fast/'" in shown(view, "keys")
        await pilot.press("escape", "slash", *"slow", "enter")
        assert view.pane.lines.hits()
        assert "1 line has 'slow'" in shown(view, "keys")
        await pilot.press("escape", "f", *"slow", "enter")
        assert [line.plain for line in view.pane.lines.shown] == ["request 3 slow"]
        await pilot.press("escape")
        await until(pilot, lambda: len(view.pane.lines.shown) > 6)
        await pilot.press("p")
        assert "paused" in shown(view, "title")
        held = len(view.pane.lines.shown)
        await pilot.pause(0.7)
        assert len(view.pane.lines.shown) == held
        await pilot.press("p")
        await until(pilot, lambda: len(view.pane.lines.shown) > held)
        await pilot.press("w")
        assert not view.pane.wrap

    drive(demo, check)


def test_the_mouse_selects_and_a_restart_gives_another_pid(demo: Running) -> None:
    before = demo.pid("gate")

    async def check(view: View, pilot: Pilot[str]) -> None:
        await pilot.click("#table", offset=(5, 5))
        assert view.row and view.row.key == "gate"
        await pilot.press("r")
        await until(pilot, lambda: "gate ready again" in shown(view, "keys"))
        await until(pilot, lambda: view.row and view.row.pid not in (None, before))

    drive(demo, check)
    assert demo.pid("gate") != before


def test_scale_and_one_process_of_several(demo: Running) -> None:
    second = demo.pid("web.2")

    async def check(view: View, pilot: Pilot[str]) -> None:
        await pilot.press("down", "plus")
        await until(pilot, lambda: "web.3" in screen(view) and "web: 3 processes" in shown(view, "keys"))
        await pilot.press("down", "r")
        assert view.row and view.row.key == "web.1"
        await until(pilot, lambda: "web.1 ready again" in shown(view, "keys"))
        await pilot.press("minus")
        await until(pilot, lambda: "web.3" not in screen(view) and "web: 2 processes" in shown(view, "keys"))

    drive(demo, check)
    assert demo.pid("web.2") == second


def test_a_rolling_restart_never_leaves_the_service_without_a_process(demo: Running) -> None:
    before = {demo.pid("web.1"), demo.pid("web.2")}
    seen: list[int] = []

    async def check(view: View, pilot: Pilot[str]) -> None:
        pressing = asyncio.create_task(pilot.press("down", "R"))
        deadline = time.monotonic() + 30
        while not pressing.done() or "web ready again" not in shown(view, "keys"):
            assert time.monotonic() < deadline, screen(view)
            web = next(each for each in view._status["services"] if each["name"] == "web")
            seen.append(sum(process["state"] == "ready" for process in web["processes"]))
            await asyncio.sleep(0.01)
        await pressing

    drive(demo, check)
    assert min(seen) >= 1
    assert not before & {demo.pid("web.1"), demo.pid("web.2")}


def test_stop_start_and_what_the_supervisor_refuses(demo: Running) -> None:
    async def check(view: View, pilot: Pilot[str]) -> None:
        await pilot.press("end")
        assert view.row and view.row.key == "api"
        await pilot.press("x")
        await until(pilot, lambda: view.row and view.row.state == "stopped")
        await pilot.press("s")
        await until(pilot, lambda: view.row and view.row.state == "ready")
        view._do(view_action("nonsense"))
        await until(pilot, lambda: "no such command" in shown(view, "keys"))

    drive(demo, check)


def view_action(command: str) -> Any:
    from lib.view.actions import Action

    return Action(command)


def test_the_chain_of_blockers(demo: Running) -> None:
    (demo.folder / "gate.open").unlink()

    async def check(view: View, pilot: Pilot[str]) -> None:
        await pilot.press("end", "x")
        await until(pilot, lambda: view.row and view.row.state == "stopped")
        await pilot.press("up", "r")
        await until(pilot, lambda: view.row and view.row.state == "starting")
        await pilot.press("down", "s", "b")
        await until(pilot, lambda: "└─ gate" in shown(view, "tree"))
        assert "api" in shown(view, "tree").splitlines()[0]
        (demo.folder / "gate.open").touch()
        await until(pilot, lambda: "Nothing waits" in shown(view, "tree"))

    drive(demo, check)


def test_a_supervisor_that_is_gone_is_told_and_found_again(demo: Running) -> None:
    pids = [demo.pid(name) for name in ("web.1", "gate")]

    async def check(view: View, pilot: Pilot[str]) -> None:
        await until(pilot, lambda: "ready" in shown(view, "head"))
        os.kill(demo.supervisor, signal.SIGKILL)
        await until(pilot, lambda: "not running" in shown(view, "head"))
        await pilot.press("r")
        await until(pilot, lambda: "is not running" in shown(view, "keys") or pilot.app.screen.query("#yes"))
        await pilot.press("escape")
        done = await asyncio.to_thread(demo.run)
        assert done.code == 0, done
        await until(pilot, lambda: "not running" not in shown(view, "head"))
        await until(pilot, lambda: view.query_one("#table", ProcessTable).selected)

    drive(demo, check)
    assert [demo.pid(name) for name in ("web.1", "gate")] == pids


@pytest.mark.parametrize("size", [(60, 20), (40, 12), (20, 8), (120, 40)])
def test_other_sizes_do_no_harm(demo: Running, size: tuple[int, int]) -> None:
    async def check(view: View, pilot: Pilot[str]) -> None:
        await pilot.resize_terminal(*size)
        await pilot.press("down", "question_mark", "escape", "b", "b", "enter", "enter")
        await until(pilot, lambda: "web" in screen(view))
        assert all(len(line) <= size[0] for line in screen(view).splitlines())

    drive(demo, check)


def test_stopping_everything_is_asked_first(demo: Running) -> None:
    async def refuse(view: View, pilot: Pilot[str]) -> None:
        await pilot.press("Q")
        await until(pilot, lambda: view.screen.query("#yes"))
        await pilot.press("enter")
        await until(pilot, lambda: not view.screen.query("#yes"))
        await pilot.press("q")

    async def agree(view: View, pilot: Pilot[str]) -> None:
        await pilot.press("Q")
        await until(pilot, lambda: view.screen.query("#yes"))
        await pilot.press("y")

    assert drive(demo, refuse).return_value is None
    assert drive(demo, agree).return_value == STOP
    assert demo.status()["state"] == "ready"


def attach(demo: Running) -> list[str]:
    return [Ampzero().path, "attach", str(demo.folder)]


@pytest.mark.parametrize("key", ["q", "C-c"])
def test_in_a_terminal_detaching_leaves_everything_running(demo: Running, tmp_path: Path, key: str) -> None:
    pids = [demo.pid(name) for name in ("web.1", "web.2", "gate", "api")]
    with terminal(tmp_path, attach(demo)) as shown:
        shown.until("demo", "ready", "web.1", "q detach")
        shown.keys("Down", "Down")
        shown.until("── web.1", "request")
        shown.keys("/")
        shown.type("slow")
        shown.keys("Enter")
        shown.until("'slow'")
        shown.resize(60, 20)
        shown.until("web.2", "gate", "── web.1")
        shown.keys(key)
        shown.until_said("detached; demo runs on")
        assert "── web.1" not in shown.screen()
    assert [demo.pid(name) for name in ("web.1", "web.2", "gate", "api")] == pids


def test_in_a_terminal_an_exported_size_does_not_garble_the_view_after_a_resize(
    demo: Running, tmp_path: Path
) -> None:
    sized = ["env", "COLUMNS=80", "LINES=24", *attach(demo)]
    with terminal(tmp_path, sized, width=80, height=24) as shown:
        shown.until("demo", "web.2", "q detach")
        shown.resize(60, 20)
        shown.until("web.2", "gate", "q detach")
        rows = shown.screen().splitlines()
        assert len(rows) == 20
        assert "demo" in rows[0]
        assert "q detach" in rows[-1]


def test_in_a_terminal_a_second_run_attaches_and_Q_stops(demo: Running, tmp_path: Path) -> None:
    with terminal(tmp_path, [Ampzero().path, "run", str(demo.folder)], width=100, height=30) as shown:
        shown.until("web.2", "q detach")
        shown.keys("Q")
        shown.until("Stop everything")
        shown.keys("y")
        shown.until("demo is stopped")
    assert demo.ampzero("status", demo.folder).code == 10


def test_without_a_terminal_or_with_plain_it_prints(demo: Running, tmp_path: Path) -> None:
    with terminal(tmp_path, [*attach(demo), "--plain"]) as shown:
        shown.until("request")
        assert "following; Ctrl-C detaches" in shown.history()
        shown.keys("C-c")
        shown.until_said("detached; demo runs on")
    assert demo.status()["state"] == "ready"


def test_without_textual_it_says_how_to_have_it(demo: Running, tmp_path: Path) -> None:
    code = "import sys; sys.modules['textual'] = None; import ampzero; sys.exit(ampzero.main())"
    with terminal(tmp_path, [sys.executable, "-c", code, "attach", str(demo.folder)], width=160) as shown:
        shown.until("request")
        assert "pip install 'ampzero[view]'" in shown.history()
        shown.keys("C-c")
        shown.until("detached")
