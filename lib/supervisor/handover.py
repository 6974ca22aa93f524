"""A Launch's way from the starter to the supervisor's process: over a socket, open files and all.

Messages of one byte that carry descriptors (SCM_RIGHTS, unix(7)). The first of all is a file without a name
that holds the Launch: a plan may hold secrets, so it is in no argv, no environment, on no path.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import msgspec

from lib.supervisor.launch import Launch, Report

MOST = 253
"""SCM_MAX_FD of unix(7): descriptors that a message carries at most."""

HANDLE = 4
"""Bytes of a descriptor in a message: a C int."""


def send(channel: socket.socket, launch: Launch) -> None:
    """Hand `launch` over; what it holds open may be closed afterwards.

    Raises: OSError, BrokenPipeError when the other end is gone.
    """
    with os.fdopen(os.memfd_create("launch", os.MFD_CLOEXEC), "w+b") as file:
        file.write(msgspec.json.encode(launch))
        file.seek(0)
        handles = [file.fileno(), *launch.descriptors()]
        for first in range(0, len(handles), MOST):
            socket.send_fds(channel, [b"\0"], handles[first : first + MOST])


def say_loaded(channel: socket.socket) -> None:
    """Tell the starter, with a Report of nothing, that this process could load all that it needs."""
    with suppress(OSError):
        channel.send(msgspec.json.encode(Report()) + b"\n")


def receive(channel: socket.socket) -> Launch | None:
    """What was handed over, with descriptors of this process; None when the starter went without it.

    Raises: OSError when not all of them could be taken.
    """
    got = _take(channel)
    if not got:
        return None
    with os.fdopen(got.pop(0), "rb") as file:
        launch = msgspec.json.decode(file.read(), type=Launch)
    sent = launch.descriptors()
    while len(got) < len(sent):
        if not (more := _take(channel)):
            return None
        got += more
    ours = dict(zip(sent, got, strict=True))
    held = {port: tuple(ours[handle] for handle in handles) for port, handles in launch.held.items()}
    listening = {address: ours[handle] for address, handle in launch.listening.items()}
    return msgspec.structs.replace(launch, lock=ours[launch.lock], held=held, listening=listening)


def _take(channel: socket.socket) -> list[int]:
    """The descriptors of the next message; none at the end."""
    # Not socket.recv_fds, which passes no flags on: what comes would be inherited by every child.
    try:
        _, control, flags, _ = channel.recvmsg(1, socket.CMSG_SPACE(MOST * HANDLE), socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # a starter that went without having read our word
        return []
    if flags & socket.MSG_CTRUNC:
        raise OSError("too few open files are allowed to take over what keeps the ports")
    return [handle for _, _, data in control for handle in memoryview(data).cast("i")]
