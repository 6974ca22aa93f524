"""The check for leftover processes sees one, and sees it go."""

from __future__ import annotations

import os
import subprocess
import sys

from support import RUN_VARIABLE, left_processes, wait_for


def test_a_process_of_this_run_is_seen_until_it_is_gone() -> None:
    run = "made-up-for-this-test"
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={RUN_VARIABLE: run}
    )
    try:
        assert wait_for(lambda: [line.split()[0] for line in left_processes(run)] == [str(child.pid)])
    finally:
        child.kill()
        child.communicate()
    assert left_processes(run) == []


def test_the_home_is_not_the_users(isolated_home: object) -> None:
    assert os.environ["HOME"] == str(isolated_home)
    assert os.environ["GIT_CONFIG_GLOBAL"] == os.devnull
