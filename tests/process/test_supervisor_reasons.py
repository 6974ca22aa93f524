"""What is said when a start fails or a name is mistaken, how a terminal's end is taken, and who probes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running_support import Running, alive

MakeRunning = Callable[..., Running]


def last_line(one: Running, service: str) -> bytes:
    return one.records(service)[-1][4]


def test_the_last_line_of_each_log_says_why_the_start_failed(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600}\n"
        "  bad: {command: sh -c 'exit 3', depends_on: {web: started}, restart: {policy: never}}\n"
    )
    assert one.run().code == 6
    why = b"the start failed: bad.1 did not become ready: exit code 3"
    assert last_line(one, "web") == last_line(one, "bad") == b"stopped: " + why
    assert b"stopping: " + why in [record[4] for record in one.records("supervisor")]


@pytest.mark.parametrize("verb", ["stop", "quit", "start", "restart"])
def test_a_service_where_an_instance_belongs(make_running: MakeRunning, verb: str) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    for word in ("web", "web.1"):
        done = one.ampzero(verb, word, cwd=one.folder)
        assert done.code == 5, done
        assert f"hint: web is a service of the instance here: ampzero {verb} . {word}\n" in done.err
    assert "is a service" not in one.ampzero(verb, "wep", cwd=one.folder).err


@pytest.mark.parametrize("times", [1, 2])
def test_the_foreground_ends_gracefully_with_its_terminal(make_running: MakeRunning, times: int) -> None:
    script = "trap 'sleep 0.3; touch went; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    one = make_running(f'services:\n  web: {{command: ["sh", "-c", "{script}"]}}\n')
    with subprocess.Popen(
        [one.ampzero.path, "run", one.folder, "--no-daemon"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        one.until(lambda: one.ampzero("status", one.folder).code == 0)
        web = one.pid("web")
        one.until((one.folder / "up").exists)
        for _ in range(times):
            os.kill(process.pid, signal.SIGHUP)
        assert process.wait(60) == 0
    assert (one.folder / "went").exists()
    assert not alive(web)


def test_in_the_background_a_terminal_that_closes_is_nothing(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    pid = one.pid("web")
    os.kill(one.supervisor, signal.SIGHUP)
    assert one.pid("web") == pid
    assert one.status()["state"] == "ready"


@pytest.mark.parametrize(("limits", "wanted"), [("{}", "0027"), ('{umask: "007"}', "0007")])
def test_probes_have_the_umask_of_their_process(
    make_running: MakeRunning, limits: str, wanted: str, tmp_path: Path
) -> None:
    one = make_running(
        f"services:\n  web: {{command: sleep 600, limits: {limits}, ready: {{exec: umask > seen}}}}\n"
    )
    done = subprocess.run(
        [one.ampzero.path, "run", one.folder], umask=0o027, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done
    assert (one.folder / "seen").read_text().strip() == wanted
