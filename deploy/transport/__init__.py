"""Ways to a host: one interface, this machine and SSH behind it."""

from __future__ import annotations

from deploy.transport.base import Done, Process, Transport
from deploy.transport.local import LocalTransport
from deploy.transport.settings import Settings
from lib.errors import MissingError

__all__ = ["Done", "LocalTransport", "Process", "Settings", "Transport", "open_transport"]

LOCAL = "local:"
"""The address of this machine, without SSH."""


def open_transport(address: str, settings: Settings) -> Transport:
    """The way to `user@host:port`, or to this machine where the address is `local:`; it is connected.

    Raises: UnreachableError; RefusedError for a host key; ConfigError; MissingError where paramiko is.
    """
    if address == LOCAL:
        return LocalTransport()
    try:
        from deploy.transport.ssh import SshTransport
    except ImportError as error:
        raise MissingError(
            f"reaching hosts needs a library that is not here: {error.name}", "pip install 'ampzero[deploy]'"
        ) from error
    return SshTransport(address, settings)
