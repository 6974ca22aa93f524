"""Telling the service manager that started us how we are: sd_notify(3), the sender's side.

Without $NOTIFY_SOCKET nothing is sent. A manager that went away is no reason to fail.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def ready() -> None:
    """Every service is ready."""
    tell("READY=1\nSTATUS=ready")


def stopping() -> None:
    """The end has begun."""
    tell("STOPPING=1\nSTATUS=stopping")


def tell(state: str) -> None:
    """Send `state`: lines of `NAME=value`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    # @ stands for the zero byte of a name that is in no file system.
    name = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(name)
        sender.send(state.encode())
