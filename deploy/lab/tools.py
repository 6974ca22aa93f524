"""What a lab needs of the machine, and how its programs are run. Owns the words for what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.errors import AmpzeroError, MissingError
from lib.programs.known import known_programs
from lib.programs.lookup import install_hint, locate
from lib.programs.program import Program

TIMEOUT = 60.0
"""Seconds for one run of a program; each takes milliseconds."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where hosts look for programs: they have none of the users' own."""

NEEDED = (
    Program("ip", ("ip", "-V"), {"apt": "iproute2", "dnf": "iproute"}),
    Program("unshare", ("unshare", "-V"), {"apt": "util-linux", "dnf": "util-linux"}),
    Program("ssh-keygen", ("ssh-keygen",), {"apt": "openssh-client", "dnf": "openssh-clients"}),
    Program("sshd", ("sshd", "-V"), {"apt": "openssh-server", "dnf": "openssh-server"}),
)
"""Beside nginx and Redis, which hosts have from the machine."""
SHAPER = Program("tc", ("tc", "-V"), {"apt": "iproute2", "dnf": "iproute-tc"})


def run(argv: Sequence[str], text: str = "") -> str:
    """Run a program of the machine with `text` as its input; what it printed.

    Raises: AmpzeroError with the program's own words, MissingError when it is not there.
    """
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{PATH}", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise MissingError(f"the program {argv[0]} is not installed", install_hint(NEEDED)) from error
    except subprocess.TimeoutExpired as error:
        raise AmpzeroError(f"{argv[0]} did not end within {TIMEOUT:.0f} s") from error
    if done.returncode:
        raise AmpzeroError(f"{' '.join(argv)}: {' '.join(done.stderr.split()) or done.returncode}")
    return done.stdout


def check_rights() -> None:
    """See that we are root on Linux.

    Raises: AmpzeroError.
    """
    if sys.platform != "linux":
        raise AmpzeroError("a lab needs Linux: its hosts are network namespaces", "use a virtual machine")
    if os.geteuid() != 0:
        command = Path(sys.argv[0]).resolve()
        raise AmpzeroError("a lab needs root: it makes network namespaces", f"sudo {command} lab ...")


def check() -> None:
    """See that this machine can have a lab.

    Raises: MissingError; AmpzeroError when we are not root, or the kernel does not let us.
    """
    check_rights()
    known = known_programs()
    missing = [
        program
        for program in (*NEEDED, known["nginx"], known["redis-server"])
        if not locate(program)
    ]  # fmt: skip
    if missing:
        names = ", ".join(program.name for program in missing)
        raise MissingError(f"a lab needs programs that are not here: {names}", install_hint(missing))
    _check_python()
    _check_overlay()
    try:
        run(["unshare", "--mount", "--net", "--pid", "--fork", "true"])
    except AmpzeroError as error:
        raise AmpzeroError(f"no namespaces may be made here: {error.message}") from error


def _check_python() -> None:
    found = shutil.which("python3", path=PATH)
    program = "import sys; print(sys.version_info[:2] >= (3, 11), sys.version.split()[0])"
    answer = run([found, "-I", "-c", program]).split() if found else []
    if not answer or answer[0] != "True":
        has = f"is {answer[1]}" if answer else "is not there"
        raise MissingError(
            f"hosts have the system's own python3, which must be 3.11 or newer, and {has}",
            f"install it into one of {PATH.replace(':', ', ')}",
        )


def _check_overlay() -> None:
    def known() -> bool:
        return re.search(r"\boverlay$", Path("/proc/filesystems").read_text(), re.MULTILINE) is not None

    if not known() and shutil.which("modprobe", path=PATH):
        subprocess.run(["modprobe", "overlay"], capture_output=True, timeout=TIMEOUT, check=False)
    if not known():
        raise MissingError("a lab needs the kernel's overlay file system", "modprobe overlay")
