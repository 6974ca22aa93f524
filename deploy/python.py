"""Python for a host that has none: from its package manager, by a shell, as nothing else runs there yet."""

from __future__ import annotations

from collections.abc import Callable

from deploy.transport.base import Transport
from lib.errors import MissingError

LOOK_TIME = 30.0
INSTALL_TIME = 540.0
LOOK = """
python3 -I -c "import json" 2>/dev/null && echo there
if test "$(id -u)" = 0; then echo root; elif sudo -n true 2>/dev/null; then echo sudo; fi
true
"""
"""Debian's python3-minimal has no json."""
INSTALL = """
exec </dev/null >&2
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update  # an old list is no reason to stop
    apt-get install -y --no-install-recommends -oDPkg::Lock::Timeout=300 python3
elif command -v dnf >/dev/null; then dnf install -y python3
else echo "no apt-get or dnf is here"; exit 1
fi
"""
"""Python brings no service, so nothing needs to be kept from starting (deploy/agent/packages.py)."""
BECOME: dict[tuple[bytes, ...], list[str]] = {(b"root",): [], (b"sudo",): ["sudo", "-n"]}
"""What the answer to LOOK lets us do: others have Python, or must not install it."""


def provide(transport: Transport, name: str, said: Callable[[str], None]) -> None:
    """Install python3 on the host `name` where it has none, or half of one, and we may; `said` hears so.

    Raises: MissingError, UnreachableError.
    """
    become = BECOME.get(tuple(transport.run(["sh", "-c", LOOK], timeout=LOOK_TIME).out.split()))
    if become is None:
        return
    said("installing python3")
    done = transport.run([*become, "sh", "-c", INSTALL], timeout=INSTALL_TIME)
    if done.code:
        reason = " ".join(done.err.strip().rpartition("\n")[2].split())[:300]
        shown = "".join(char if char.isprintable() else "?" for char in reason)
        raise MissingError(f"{name}: cannot install python3: {shown}", "install it by hand, 3.11 or later")
