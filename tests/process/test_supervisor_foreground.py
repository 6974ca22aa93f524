"""`run --no-daemon`: the output on a terminal, Ctrl-C, exit codes, a terminal that does not read."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from running_support import Running, alive, carrying, pids_in
from support import wait_for

MakeRunning = Callable[..., Running]
PYTHON = sys.executable


class Terminal:
    """`ampzero run FOLDER --no-daemon` on a pseudo terminal."""

    def __init__(self, one: Running, *options: str) -> None:
        self.handle, other = pty.openpty()
        self.process = subprocess.Popen(
            [one.ampzero.path, "run", one.folder, *(options or ("--no-daemon",))],
            stdin=other, stdout=other, stderr=other, start_new_session=True,
            preexec_fn=take_terminal,
        )  # fmt: skip
        os.close(other)
        self.shown = b""

    def read(self) -> bytes:
        """Everything that was shown so far."""
        with suppress(OSError):
            while select.select([self.handle], [], [], 0)[0]:
                block = os.read(self.handle, 65536)
                if not block:
                    break
                self.shown += block
        return self.shown

    def wait(self, seconds: float = 30) -> int:
        """The exit code; reads meanwhile."""
        assert wait_for(lambda: (self.read(), self.process.poll() is not None)[1], seconds), self.shown
        self.read()
        return self.process.returncode

    def press(self, key: bytes) -> None:
        """Type a key."""
        os.write(self.handle, key)


def take_terminal() -> None:
    """In the child: standard input becomes its controlling terminal, so that Ctrl-C is a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(one: Running, *options: str) -> Iterator[Terminal]:
    """A Terminal that is gone at the end."""
    found = Terminal(one, *options)
    try:
        yield found
    finally:
        one.end()
        if found.process.poll() is None:
            found.process.kill()
            found.process.wait(60)
        os.close(found.handle)


def test_output_is_shown_and_ctrl_c_stops_everything(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'echo hello $$; exec sleep 600'}\n  other: {command: sleep 600}\n"
    )
    with terminal(one) as shown:
        assert wait_for(lambda: b"hello" in shown.read()), shown.shown
        one.until(lambda: one.status()["state"] == "ready")
        pid = one.pid("web")
        shown.press(b"\x03")
        assert shown.wait() == 0
        assert not alive(pid)
        assert b"stopped by command" in shown.shown
        assert b"Traceback" not in shown.shown
    assert not carrying(f"AMPZERO_VAR={one.var}")


def test_a_second_ctrl_c_does_not_wait(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}, stop: {timeout: 100s}}\n",
        {"app.sh": "trap '' TERM; echo up; while :; do sleep 0.1; done"},
    )
    with terminal(one) as shown:
        one_is_up(one)
        shown.press(b"\x03")
        one.until(lambda: one.process("web")["state"] == "stopping")
        shown.press(b"\x03")
        shown.wait()
    assert not carrying(f"AMPZERO_VAR={one.var}")


def one_is_up(one: Running) -> None:
    assert wait_for(lambda: one.root.is_dir() and one.ampzero("status", one.folder).code == 0)


def test_ctrl_c_during_the_start(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'echo $$ > pid; sleep 600', ready: {log: never, deadline: 60s}}\n"
    )
    with terminal(one) as shown:
        pid = pids_in(one.folder / "pid")[0]
        shown.press(b"\x03")
        assert shown.wait() == 130
        assert not alive(pid)
        assert b"ampzero: error:" in shown.shown
        assert b"stopped while it was starting" in shown.shown


def test_a_foreground_start_that_fails_says_why(make_running: MakeRunning) -> None:
    """It ended with the right code and not a word."""
    one = make_running("services:\n  web: {command: sh -c 'echo my last words; exit 3'}\n")
    done = one.run("--no-daemon")
    assert done.code == 6
    assert "my last words" in done.out
    assert "ampzero: error: web.1 did not become ready" in done.err
    assert "hint: ampzero logs" in done.err
    assert not carrying(f"AMPZERO_VAR={one.var}")


def test_stop_from_elsewhere_ends_it_with_0(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    with terminal(one) as shown:
        one_is_up(one)
        assert one.stop().code == 0
        assert shown.wait() == 0


def test_debug_stays_in_the_foreground_and_tells_the_children(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sh -c 'echo debug=$AMPZERO_DEBUG; exec sleep 600'}\n")
    with terminal(one, "--debug") as shown:
        assert wait_for(lambda: b"debug=1" in shown.read()), shown.shown


def test_everything_that_was_written_is_shown_before_the_end(make_running: MakeRunning) -> None:
    """The thread that prints was cut off in the middle by the end of the process."""
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}}\n",
        {"app.sh": "trap 'seq 1 500; echo over; exit' TERM; echo up; while :; do sleep 0.05; done"},
    )
    process = subprocess.Popen(
        [one.ampzero.path, "run", one.folder, "--no-daemon"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    one_is_up(one)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"web.1      | over" in out or b"| over" in out
    assert out.count(b"web.1") >= 500
    assert b"Traceback" not in err


def test_a_terminal_that_does_not_read_blocks_no_child_and_no_end(make_running: MakeRunning) -> None:
    app = (
        "import sys, time\n"
        "for n in range(200000):\n    sys.stdout.write('x' * 99 + '\\n')\n"
        "sys.stdout.flush()\nopen('written', 'w').close()\ntime.sleep(600)\n"
    )
    one = make_running(f"services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": app})
    process = subprocess.Popen(
        [one.ampzero.path, "run", one.folder, "--no-daemon"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert wait_for(lambda: (one.folder / "written").exists())
        one_is_up(one)
        one.until(lambda: len(one.output("web")) == 200000)
        assert one.stop().code == 0
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert b"Fatal" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_a_reader_that_goes_away_ends_nothing(make_running: MakeRunning, tmp_path: Path) -> None:
    one = make_running("services:\n  web: {command: sh -c 'while sleep 0.05; do echo tick; done'}\n")
    process = subprocess.Popen(
        [one.ampzero.path, "run", one.folder, "--no-daemon"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    one_is_up(one)
    assert process.stdout is not None
    process.stdout.close()
    lines = len(one.output("web"))
    one.until(lambda: len(one.output("web")) > lines + 10)
    assert one.status()["state"] == "ready"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
