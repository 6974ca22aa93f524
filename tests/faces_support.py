"""What the tests of the foreign faces share: the clients' programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from running_support import Running
from support import Result


def client(program: str, *arguments: str, timeout: float = 40) -> Result:
    """Run a client that stands beside this Python; its code and what it wrote."""
    path = Path(sys.executable).parent / program
    assert path.exists(), f"{program} is not installed: pip install -e '.[test]'"
    done = subprocess.run(
        [str(path), *arguments], capture_output=True, text=True, errors="replace", timeout=timeout,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def socket_of(one: Running, name: str) -> str:
    """The path of a socket in the instance's folder of sockets."""
    control: str = one.status()["sockets"]["control"]
    path = Path(control).with_name(name)
    assert path.is_socket(), path
    return str(path)


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
