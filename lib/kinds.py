"""The known kinds of services, and of which kind a service is."""

from __future__ import annotations

from lib.config import ServiceConfig

KINDS = ("keyspace", "redis", "zerodata", "logstore", "ampnode", "nginx")
"""The known kinds but `command`. Not taken from lib/services: loading those costs more than reading the file;
a test holds the two equal."""


def kind_of(name: str, service: ServiceConfig) -> str:
    """The kind of a service: as it says, or the known kind of its name, or `command`."""
    if service.kind is not None:
        return service.kind
    return name if name in KINDS and service.command is None else "command"
