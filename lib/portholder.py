"""Who listens on a TCP port, from /proc (proc(5), tcp tables as in the kernel's net/ipv4/tcp_ipv4.c)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def listening_sockets(port: int) -> dict[str, int]:
    """The inodes of the sockets that listen on `port`, with the uid of each one's owner."""
    inodes: dict[str, int] = {}
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes[columns[9]] = int(columns[7])
    return inodes


def process_with(inodes: set[str]) -> int:
    """The lowest pid that has one of the sockets open, 0 when none can be seen."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in sorted((entry for entry in Path("/proc").iterdir() if entry.name.isdigit()), key=by_pid):
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(handle.readlink()) in wanted:
                        return int(process.name)
    return 0


def listens(port: int, pids: set[int]) -> bool:
    """Whether one of `pids` listens on `port`."""
    inodes = set(listening_sockets(port))
    return bool(inodes) and process_with(inodes) in pids


def by_pid(process: Path) -> int:
    """Sort key: the pid of /proc/PID."""
    return int(process.name)


def user_name(uid: int) -> str:
    """Who `uid` is; a number where nobody is called so."""
    import pwd

    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"with uid {uid}"


def holder(port: int) -> str:
    """Who listens on `port`, as `nginx, pid 123`; else what can be told; empty for nobody."""
    inodes = listening_sockets(port)
    if not inodes:
        return ""
    pid = process_with(set(inodes))
    if not pid:
        return f"a process of the user {user_name(next(iter(inodes.values())))}"
    with suppress(OSError):
        return f"{(Path('/proc') / str(pid) / 'comm').read_text().strip()}, pid {pid}"
    return f"pid {pid}"
