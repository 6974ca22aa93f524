"""What processes write, on its way to the log: every byte, in order, never at the cost of the child."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running_support import Running, kill

MakeRunning = Callable[..., Running]
PYTHON = sys.executable
MIB = 1024 * 1024


def without_gap(one: Running, service: str) -> list[int]:
    """The sequences on disk, which must follow each other."""
    found = [record[0] for record in one.records(service)]
    assert found == list(range(found[0], found[0] + len(found)))
    return found


def test_a_line_of_10_mb_arrives_whole(make_running: MakeRunning) -> None:
    app = (
        "import sys, time\n"
        "sys.stdout.write('before\\n' + 'x' * 10_000_000 + '\\nafter\\n')\n"
        "sys.stdout.flush()\nopen('done', 'w').close()\ntime.sleep(600)"
    )
    one = make_running(f"services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": app}).start()
    one.until(lambda: b"after" in one.output("web"))
    before, line, after = one.output("web")
    assert (before, after) == (b"before", b"after")
    assert line == b"x" * 10_000_000
    assert max(len(record[4]) for record in one.records("web")) < 2 * MIB
    without_gap(one, "web")


def test_binary_garbage_arrives_byte_for_byte(make_running: MakeRunning) -> None:
    app = (
        "import hashlib, os, sys, time\n"
        "raw = b''.join(os.urandom(65536) for _ in range(32))\n"
        "sys.stdout.buffer.write(raw + b'\\nend\\n')\nsys.stdout.flush()\n"
        "sys.stderr.write(hashlib.sha256(raw).hexdigest() + '\\n')\nsys.stderr.flush()\ntime.sleep(600)\n"
    )
    one = make_running(f"services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": app}).start()
    one.until(lambda: one.output("web", "err") and one.output("web")[-1:] == [b"end"])
    raw = b"\n".join(one.output("web")[:-1])
    assert hashlib.sha256(raw).hexdigest().encode() == one.output("web", "err")[0]
    shown = one.ampzero("logs", one.folder, "web", "-n", "5", "--json")
    assert shown.code == 0


def test_the_last_line_needs_no_newline(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh}\n",
        {"app.sh": "printf first; [ -e again ] && exec sleep 600; touch again; sleep 0.3"},
    ).start()
    one.until(lambda: one.process("web")["restarts"] == 1 and one.process("web")["state"] == "ready")
    assert one.output("web") == [b"first"]
    assert one.stop().code == 0
    assert one.output("web") == [b"first", b"first"]


def test_a_long_line_that_a_crash_cuts_off_does_not_swallow_the_next_childs_first(
    make_running: MakeRunning,
) -> None:
    """Its last piece said that it goes on, so the restarted process's first line was joined to it."""
    app = (
        "import os, sys, time\n"
        "again = os.path.exists('again')\nopen('again', 'w').close()\n"
        "os.write(1, b'fresh\\n' if again else b'x' * 65536 + b'y')\n"
        "time.sleep(600 if again else 0.3)\n"
    )
    one = make_running(f"services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": app}).start()
    one.until(lambda: b"fresh" in one.output("web"))
    assert one.output("web") == [b"x" * 65536 + b"y", b"fresh"]


def test_two_streams_stay_apart_and_each_in_order(make_running: MakeRunning) -> None:
    app = (
        "import sys, time\n"
        "for n in range(2000):\n    print('o', n)\n    print('e', n, file=sys.stderr)\n"
        "sys.stdout.flush()\ntime.sleep(600)\n"
    )
    one = make_running(f"services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": app}).start()
    one.until(lambda: len(one.output("web")) == len(one.output("web", "err")) == 2000)
    assert one.output("web") == [f"o {n}".encode() for n in range(2000)]
    assert one.output("web", "err") == [f"e {n}".encode() for n in range(2000)]
    without_gap(one, "web")


def test_processes_of_a_service_do_not_mix_their_lines(make_running: MakeRunning) -> None:
    app = (
        "import os, sys, time\n"
        "for n in range(3000):\n    sys.stdout.write(os.environ['AMPZERO_PROCESS'] + ' ' + str(n) + '\\n')\n"
        "    n % 7 or sys.stdout.flush()\nsys.stdout.flush()\ntime.sleep(600)\n"
    )
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, processes: 4}}\n", {"app.py": app}
    ).start()
    one.until(lambda: len(one.output("web")) == 12000)
    for number in (1, 2, 3, 4):
        mine = [record[4] for record in one.records("web") if record[1] == number and record[2] == "out"]
        assert mine == [f"web.{number} {n}".encode() for n in range(3000)]


def test_segments_rotate_on_line_ends_and_lose_nothing(make_running: MakeRunning) -> None:
    app = (
        "import sys, time\n"
        "for n in range(60000):\n    sys.stdout.write(f'{n:08d} ' + 'x' * 40 + '\\n')\n"
        "sys.stdout.flush()\ntime.sleep(600)\n"
    )
    one = make_running(
        f"logs: {{segment: 1, keep: 100}}\nservices:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": app}
    ).start()
    one.until(lambda: len(one.output("web")) == 60000, 40)
    assert [int(line[:8]) for line in one.output("web")] == list(range(60000))
    segments = sorted((one.var / "logs/web").glob("*.log"))
    assert len(segments) >= 4
    without_gap(one, "web")
    sizes = [segment.stat().st_size for segment in segments]
    assert all(size <= 3 * MIB for size in sizes), sizes
    for segment in segments:
        assert segment.read_bytes().endswith(b"\n")


def test_only_the_newest_segments_are_kept(make_running: MakeRunning) -> None:
    app = (
        "import sys, time\n"
        "for n in range(60000):\n    sys.stdout.write(f'{n:08d} ' + 'x' * 40 + '\\n')\n"
        "sys.stdout.flush()\ntime.sleep(600)\n"
    )
    one = make_running(
        f"logs: {{segment: 1, keep: 2}}\nservices:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": app}
    ).start()
    one.until(lambda: one.output("web")[-1:] == [b"00059999 " + b"x" * 40], 40)
    assert len(list((one.var / "logs/web").glob("*.log"))) == 2
    assert without_gap(one, "web")[0] > 0


def test_sequences_go_on_over_a_stop_and_a_start(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sh -c 'echo hello; sleep 600'}\n").start()
    one.stop()
    one.start()
    one.until(lambda: one.output("web") == [b"hello", b"hello"])
    without_gap(one, "web")


def test_a_child_that_nobody_reads_is_not_blocked_and_an_orphan_pipe_does_no_harm(
    make_running: MakeRunning,
) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c '(setsid sh -c \"sleep 0.5; echo late\" &); sleep 600'}\n"
    ).start()
    one.until(lambda: one.output("web") == [b"late"])
    kill(one.pid("web"))
    one.until(lambda: one.process("web")["restarts"] == 1)


@pytest.mark.root
def test_a_full_disk_costs_lines_which_are_counted_and_no_child(
    small_disk: Path, make_running: MakeRunning
) -> None:
    app = (
        "import sys, time, os\n"
        "while not os.path.exists('go'): time.sleep(0.05)\n"
        "for n in range(100000):\n    sys.stdout.write('x' * 99 + '\\n')\n"
        "sys.stdout.flush()\nopen('written', 'w').close()\n"
        "while not os.path.exists('more'): time.sleep(0.05)\nprint('more', flush=True)\ntime.sleep(600)\n"
    )
    one = make_running(
        f"logs: {{segment: 1, keep: 100}}\nservices:\n  web: {{command: {PYTHON} app.py}}\n",
        {"app.py": app}, root=small_disk,
    ).start()  # fmt: skip
    pid = one.pid("web")
    (one.folder / "go").touch()
    one.until(lambda: (one.folder / "written").exists())
    one.until(lambda: one.service("web")["dropped_lines"] > 50000)
    assert one.pid("web") == pid
    assert "lines of output were lost" in one.ampzero("status", one.folder).out
    without_gap(one, "web")
    sorted((one.var / "logs/web").glob("*.log"))[0].unlink()
    (one.folder / "more").touch()
    one.until(lambda: b"more" in one.output("web"))
    assert one.stop().code == 0
