"""Segments that are closed, compressed and followed while children write and supervisors die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zmq
from running_support import Running, kill
from support import Ampzero, wait_for

from lib.logs.segments import firsts

MakeRunning = Callable[..., Running]
PYTHON = sys.executable
FLOOD = (
    "import sys, time, os\n"
    "for n in range(int(sys.argv[1])):\n    sys.stdout.write(f'{n:08d} ' + 'x' * 90 + '\\n')\n"
    "sys.stdout.flush()\nopen('done', 'w').close()\n"
    "while not os.path.exists('more'): time.sleep(0.05)\nprint('more', flush=True)\ntime.sleep(600)\n"
)


def config(lines: int, logs: str = "segment: 1, keep: 1000") -> str:
    return f"logs: {{{logs}}}\nservices:\n  web: {{command: {PYTHON} app.py {lines}}}\n"


def compressed(one: Running, service: str = "web") -> int:
    return len(list((one.var / "logs" / service).glob("*.log.gz")))


def plain(one: Running, service: str = "web") -> int:
    return len(list((one.var / "logs" / service).glob("*.log")))


def compressing(one: Running) -> list[int]:
    """The pids of the compressing process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            if any(word.endswith(b"logs/tidy.py") for word in argv) and os.fsencode(one.var / "logs") in argv:
                found.append(int(folder.name))
    return found


def whole(one: Running, lines: int) -> bool:
    """Whether each line of the flood is there once, in order, in sequences without a gap."""
    records = one.records("web")
    assert [record[0] for record in records] == list(range(len(records)))
    written = [record[4][:8] for record in records if record[2] == "out" and record[4][:1] == b"0"]
    assert written == [b"%08d" % number for number in range(lines)]
    return True


@pytest.mark.slow
def test_100_mb_in_small_segments_are_compressed_and_none_is_lost(make_running: MakeRunning) -> None:
    lines = 1_000_000
    one = make_running(config(lines), {"app.py": FLOOD}).start()
    pid = one.pid("web")
    one.until(lambda: (one.folder / "done").exists(), 60)
    one.until(lambda: compressed(one) > 100 and plain(one) == 1, 90)
    assert whole(one, lines)
    folder = one.var / "logs/web"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 40_000_000
    (one.folder / "more").touch()
    one.until(
        lambda: one.ampzero("logs", one.folder, "web.1", "--stream", "out", "-n", "1").out.endswith("more\n")
    )
    last = json.loads(one.ampzero("logs", one.folder, "web.1", "--stream", "out", "-n", "1", "--json").out)
    assert last["sequence"] >= lines
    early = one.ampzero("logs", one.folder, "web", "--grep", "00000007 ", "-n", "5", "--json")
    assert json.loads(early.out)["text"].startswith("00000007 ")
    assert one.service("web")["dropped_lines"] == 0
    assert one.pid("web") == pid
    assert not any("tidied" in record[4].decode(errors="replace") for record in one.records("supervisor"))


def test_a_supervisor_killed_while_it_compresses_loses_nothing(make_running: MakeRunning) -> None:
    lines = 400_000
    one = make_running(config(lines), {"app.py": FLOOD}).start()
    one.until(lambda: (one.folder / "done").exists(), 60)
    pid, child = one.supervisor, one.pid("web")
    assert wait_for(lambda: compressed(one) and compressing(one), step=0.002)
    kill(pid)
    helpers = compressing(one)
    # It must be half done, or this test shows nothing.
    assert plain(one) > 1
    assert whole(one, lines)
    one.start()
    assert one.pid("web") == child
    assert not set(helpers) & set(compressing(one))
    one.until(lambda: plain(one) == 1, 60)
    assert whole(one, lines)
    (one.folder / "more").touch()
    one.until(lambda: b"more" in one.output("web"))
    assert not list((one.var / "logs/web").glob("*.new"))


def test_a_stop_does_not_wait_for_the_compression(make_running: MakeRunning) -> None:
    lines = 400_000
    one = make_running(config(lines), {"app.py": FLOOD}).start()
    one.until(lambda: (one.folder / "done").exists(), 60)
    assert wait_for(lambda: compressing(one), step=0.002)
    helpers = compressing(one)
    assert one.stop().code == 0
    assert not set(compressing(one)) & set(helpers)
    assert whole(one, lines)


def test_following_goes_on_over_rotation_and_compression(make_running: MakeRunning, ampzero: Ampzero) -> None:
    app = (
        "import sys, time\n"
        "for n in range(120000):\n    sys.stdout.write(f'{n:08d} ' + 'x' * 90 + '\\n')\n"
        "    if n % 10000 == 0:\n        sys.stdout.flush()\n        time.sleep(0.8)\n"
        "print('end', flush=True)\ntime.sleep(600)\n"
    )
    one = make_running(config(0).replace("app.py 0", "app.py"), {"app.py": app}).start()
    seen: list[int] = []
    with subprocess.Popen(
        [ampzero.path, "logs", one.folder, "web.1", "--stream", "out", "-f", "-n", "1000000", "--json"],
        stdout=subprocess.PIPE,
    ) as following:
        try:
            assert following.stdout
            for line in following.stdout:
                text = json.loads(line)["text"]
                if text == "end":
                    break
                seen.append(int(text[:8]))
        finally:
            following.send_signal(signal.SIGINT)
    assert seen == list(range(120000))
    # On a busy machine the compression comes late: it takes only what nobody else wants.
    one.until(lambda: compressed(one) > 0, 60)


@pytest.mark.slow
def test_age_deletes_what_is_closed_and_compression_can_be_off(make_running: MakeRunning) -> None:
    one = make_running(
        config(60_000, "segment: 1, keep: 100, age: 1h, compress: false"), {"app.py": FLOOD}
    ).start()
    one.until(lambda: (one.folder / "done").exists(), 60)
    folder = one.var / "logs/web"
    one.until(lambda: len(firsts(folder)) > 5)
    assert one.stop().code == 0
    (one.folder / "more").unlink(missing_ok=True)
    old = sorted(folder.glob("*.log"))[:3]
    for path in old:
        os.utime(path, (1000, 1000))
    one.start()
    one.until(lambda: not any(path.exists() for path in old))
    assert compressed(one) == 0
    sequences = [record[0] for record in one.records("web")]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


@pytest.mark.parametrize("value", ["age: 1s", "age: soon", "compress: maybe", "age: -1"])
def test_logs_are_checked(make_running: MakeRunning, value: str) -> None:
    done = make_running(f"logs: {{{value}}}\nservices:\n  web: {{command: sleep 600}}\n").run()
    assert done.code == 4
    assert f"logs.{value.split(':')[0]}" in done.err


def test_what_a_slow_terminal_misses_is_counted_in_status(make_running: MakeRunning) -> None:
    lines = 300_000
    one = make_running(config(lines, "segment: 1, keep: 1000, compress: false"), {"app.py": FLOOD})
    with subprocess.Popen(
        [one.ampzero.path, "run", one.folder, "--no-daemon"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as run:
        try:
            one.until(lambda: (one.folder / "done").exists(), 60)
            one.until(lambda: one.status()["unprinted_lines"] > 0)
            assert "the terminal is slow" in one.ampzero("status", one.folder).out
            assert one.service("web")["dropped_lines"] == 0
            one.until(lambda: whole(one, lines))
            assert run.stdout
            os.set_blocking(run.stdout.fileno(), True)
            assert one.stop().code == 0
        finally:
            run.kill()


def test_events_are_numbered(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.SUB) as socket:
        socket.subscribe("")
        socket.connect(f"ipc://{one.status()['sockets']['events']}")
        socket.setsockopt(zmq.RCVTIMEO, 300)
        numbers: list[int] = []

        def some() -> bool:
            if pid := one.process("web")["pid"]:
                kill(pid)
            with suppress(zmq.Again):
                while True:
                    numbers.append(json.loads(socket.recv_multipart()[1])["event"])
            return len(numbers) >= 6

        one.until(some)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        one.until(lambda: one.process("web")["state"] in ("ready", "gave-up"))
        assert one.status()["events"] >= numbers[-1]
