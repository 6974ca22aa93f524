"""What other machines on this machine run (containers, a lab) is no leftover of an instance here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from running_support import Running
from support import wait_for

from lib import leftovers
from lib.loader import open_instance
from lib.supervisor import tree

SERVICES = "services: {web: {command: sleep 1000}}"
LASTS = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root rights")
def test_a_process_of_a_container_with_the_same_folders_is_not_taken_for_ours(
    make_running: Callable[..., Running],
) -> None:
    instance = open_instance(str(make_running(SERVICES).folder))
    marked = {**os.environ, "AMPZERO_VAR": str(instance.var)}
    here = subprocess.Popen(LASTS, env=marked, stdout=subprocess.PIPE)
    elsewhere = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *LASTS], env=marked, stdout=subprocess.PIPE
    )
    try:
        for process in (here, elsewhere):
            assert process.stdout is not None
            process.stdout.readline()
        # `unshare` itself stays in our namespace, and what it has below it belongs to it.
        assert wait_for(lambda: here.pid in leftovers.find(instance))
        inner = int(
            subprocess.run(["pgrep", "-P", str(elsewhere.pid)], capture_output=True, text=True).stdout
        )
        table = tree.table()
        roots = leftovers.find(instance)
        assert here.pid in roots
        # Alone, as after the end of what started it, the container's is nobody's of ours.
        apart = tree.Table(line for pid, line in table.items() if pid in (here.pid, inner))
        assert tree.marked(f"AMPZERO_VAR={instance.var}".encode(), apart) == {here.pid}
    finally:
        for process in (here, elsewhere):
            process.kill()
            process.communicate()
