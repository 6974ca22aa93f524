"""Errors that are nobody's mistake but a machine's that is full: they pass, and are no reason to give up."""

from __future__ import annotations

import errno

OURS = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""What may fail in this process: memory, descriptors."""

FULL = OURS | {errno.EAGAIN, errno.ENOSPC, errno.EDQUOT}
"""The same, and what a start needs besides: a place in the process table (fork(2)), on a disk."""

NO_ROOM = "no room for another process"
"""What EAGAIN of fork(2) means: pids.max of a cgroup, RLIMIT_NPROC of the user, kernel.pid_max."""


def words(error: OSError) -> str:
    """What went wrong, for `status`."""
    said = error.strerror or str(error)
    return f"{said}: {NO_ROOM}" if error.errno == errno.EAGAIN else said
