"""What a child gets from its surroundings: variables, umask, folder, descriptors, limits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from running_support import Running

MakeRunning = Callable[..., Running]
PYTHON = sys.executable

SHOW = "import os, json; print(json.dumps(dict(os.environ)), flush=True); import time; time.sleep(600)"


def environment(one: Running, service: str = "web") -> dict[str, str]:
    import json

    one.until(lambda: one.output(service))
    found: dict[str, str] = json.loads(one.output(service)[0])
    return found


def test_the_variables_of_a_process(make_running: MakeRunning) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, port: auto, ready: {{exec: 'true'}}}}\n",
        {"app.py": SHOW},
    ).start(
        env={
            "PYTHONPATH": "/harmful", "AMPZERO_OTHER": "x", "PORT": "1", "NOTIFY_SOCKET": "/x",
            "LISTEN_FDS": "3", "KEPT": "kept",
        }
    )  # fmt: skip
    found = environment(one)
    assert "PYTHONPATH" not in found
    assert "NOTIFY_SOCKET" not in found
    assert "LISTEN_FDS" not in found
    assert "AMPZERO_OTHER" not in found
    assert found["KEPT"] == "kept"
    assert found["PYTHONUNBUFFERED"] == "1"
    assert found["AMPZERO_INSTANCE"] == "demo"
    assert found["AMPZERO_DIRECTORY"] == str(one.folder)
    assert found["AMPZERO_VAR"] == str(one.var)
    assert found["AMPZERO_SERVICE"] == "web"
    assert found["AMPZERO_PROCESS"] == "web.1"
    assert found["AMPZERO_CONTROL"] == one.status()["sockets"]["control"]
    assert found["AMPZERO_EVENTS"] == one.status()["sockets"]["events"]
    assert found["PORT"] == str(one.process("web")["ports"][0])


def test_env_wins_over_env_file(make_running: MakeRunning) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, env_file: [a.env, b.env], "
        "env: {LEVEL: env, NUMBER: 3, ON: true, PYTHONPATH: mine}}\n",
        {"app.py": SHOW, "a.env": "A=a\nB=a\nLEVEL=a\n", "b.env": "B='b b'\n"},
    ).start()
    found = environment(one)
    assert (found["A"], found["B"], found["LEVEL"]) == ("a", "b b", "env")
    assert (found["NUMBER"], found["ON"], found["PYTHONPATH"]) == ("3", "true", "mine")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_is_the_callers(make_running: MakeRunning, umask: int) -> None:
    one = make_running("services:\n  web: {command: sh -c 'umask; touch made; sleep 600'}\n")
    done = subprocess.run([one.ampzero.path, "run", one.folder], umask=umask, capture_output=True, timeout=60)
    assert done.returncode == 0, done
    one.until(lambda: one.output("web") and (one.folder / "made").exists())
    assert one.output("web") == [f"{umask:04o}".encode()]
    assert (one.folder / "made").stat().st_mode & 0o777 == 0o666 & ~umask


def test_files_of_the_supervisor_are_private_whatever_the_umask(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    done = subprocess.run([one.ampzero.path, "run", one.folder], umask=0, capture_output=True, timeout=60)
    assert done.returncode == 0, done
    for path in (one.var / "run").rglob("*"):
        assert not path.stat().st_mode & 0o077, path
    for path in (one.var / "logs").rglob("*.log"):
        assert not path.stat().st_mode & 0o077, path


def test_the_folder_is_the_instances_or_cwd(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  a: {command: sh -c 'pwd; sleep 600'}\n"
        "  b: {command: sh -c 'pwd; sleep 600', cwd: sub}\n  c: {command: ./app.sh, cwd: sub}\n"
    )
    (one.folder / "sub").mkdir()
    script = one.folder / "sub/app.sh"
    script.write_text("#!/bin/sh\npwd\nsleep 600\n")
    script.chmod(0o755)
    one.start()
    one.until(lambda: all(one.output(name) for name in "abc"))
    sub = [os.fsencode(one.folder / "sub")]
    assert (one.output("a"), one.output("b"), one.output("c")) == ([os.fsencode(one.folder)], sub, sub)


def test_a_child_has_three_descriptors_and_a_session_of_its_own(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sh -c 'ls /proc/$$/fd; exec sleep 600', port: auto, "
                       "ready: {exec: 'true'}}\n").start()  # fmt: skip
    one.until(lambda: len(one.output("web")) >= 3)
    assert one.output("web") == [b"0", b"1", b"2"]
    pid = one.pid("web")
    assert os.getsid(pid) == pid


def test_words_of_a_command_are_expanded_without_a_shell(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: ['sh', '-c', 'echo \"$1\"; sleep 600', 'x', '${WHO} $WHO;ls $NOBODY'], "
        "env: {WHO: me}}\n"
    ).start()
    one.until(lambda: one.output("web") == [b"me me;ls $NOBODY"])


def test_a_program_is_found_on_the_path_of_its_own_environment(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: my-tool, env: {PATH: '%s'}}\n")
    tools = one.folder / "tools"
    tools.mkdir()
    (tools / "my-tool").write_text("#!/bin/sh\necho found\nexec sleep 600\n")
    (tools / "my-tool").chmod(0o755)
    config = one.folder / "amprun.yaml"
    config.write_text(config.read_text() % f"{tools}:{os.environ['PATH']}")
    one.start()
    one.until(lambda: one.output("web") == [b"found"])


def test_the_plan_is_in_no_argv_and_on_no_path(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'exec sleep 600', env: {SECRET: hunter-two}}\n"
    ).start()
    for pid in (one.supervisor, one.pid("web")):
        with open(f"/proc/{pid}/cmdline", "rb") as stream:  # noqa: PTH123 -- proc
            assert b"hunter-two" not in stream.read()
    for path in one.var.rglob("*"):
        if path.is_file():
            assert b"hunter-two" not in path.read_bytes()


def test_more_processes_than_the_limit_of_open_files_allows_at_three_each(make_running: MakeRunning) -> None:
    """At some 340 processes the usual limit of 1024 was used up; the supervisor aborted and left them."""
    one = make_running(
        "services:\n  web:\n    processes: 40\n    port: auto\n    ready: {log: '64'}\n"
        "    command: sh -c 'until [ $(ulimit -Sn) = 64 ]; do sleep 0.01; done; ulimit -Sn; exec sleep 600'\n"
    )
    done = subprocess.run(
        ["sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", one.ampzero.path, "run", one.folder],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done
    one.until(lambda: one.output("web") == [b"64"] * 40)
    assert one.stop().code == 0


def test_a_socket_of_the_longest_name_fits() -> None:
    from lib.instance import LONGEST_SOCKET

    assert len(f"/notify-{'x' * 32}.1000.sock") <= LONGEST_SOCKET
