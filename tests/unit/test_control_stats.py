"""What processes use, against processes whose use is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from support import wait_for

from lib.control.stats import Meter, Table, boot_time, line, open_files, own, proportional, total_memory

TREE = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "x = b'x' * 50_000_000; print(len(x), flush=True); input()"],
                         stdin=subprocess.PIPE, start_new_session=True)
sys.stdin.read()
"""


def test_a_tree_is_counted_as_one() -> None:
    tree = subprocess.Popen([sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert tree.stdin is not None and tree.stdout is not None
    try:
        assert tree.stdout.readline() == b"50000000\n"
        usage = Table().usage(tree.pid, fds=True)
        assert usage is not None
        assert usage.processes == 2
        assert usage.threads == 2
        assert 50_000_000 < usage.memory < 200_000_000
        assert usage.cpu > 0
        assert usage.fds is not None and usage.fds >= 6
        alone = own(tree.pid)
        assert alone is not None and alone.memory < usage.memory - 45_000_000
        assert 50_000_000 < proportional(Table().members(tree.pid)) < usage.memory + 1_000_000
    finally:
        tree.stdin.close()
        tree.wait(60)
        tree.stdout.close()
    assert Table().usage(tree.pid) is None
    assert own(tree.pid) is None
    assert open_files(tree.pid) is None


def test_the_own_process() -> None:
    found = line(os.getpid())
    assert found is not None
    assert found.parent == os.getppid()
    assert found.command == Path("/proc/self/comm").read_text().strip()
    assert abs(found.cpu - sum(os.times()[:4])) < 1
    assert abs(boot_time() + found.started / os.sysconf("SC_CLK_TCK") - time.time()) < 24 * 3600
    assert found.memory < total_memory()


def test_percent_of_a_processor() -> None:
    meter = Meter()
    pid, ticks = 1, int((time.clock_gettime(time.CLOCK_BOOTTIME) - 10) * os.sysconf("SC_CLK_TCK"))
    assert 40 < meter.percent(pid, ticks, 5.0) < 55, "half of its ten seconds"
    assert 40 < meter.percent(pid, ticks, 5.0) < 55, "asked again at once"
    assert wait_for(lambda: meter.percent(pid, ticks, 5.0) == 0.0, step=0.06), "nothing since"
    assert meter.percent(pid, ticks + 1, 1.0) > 5, "another process that has the same pid"
