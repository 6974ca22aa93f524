"""One file a kind of service; the table SERVICES names them.

Adding a kind is one file beside this one and one line here.
"""

from __future__ import annotations

from lib.services.ampnode import Ampnode
from lib.services.base import Service
from lib.services.command import Command
from lib.services.contact import Contact
from lib.services.keyspace import Keyspace
from lib.services.logstore import Logstore
from lib.services.nginx import Nginx
from lib.services.redis import Redis
from lib.services.zerodata import Zerodata

SERVICES: dict[str, type[Service]] = {
    "keyspace": Keyspace,
    "redis": Redis,
    "zerodata": Zerodata,
    "logstore": Logstore,
    "ampnode": Ampnode,
    "nginx": Nginx,
    "command": Command,
}
"""Every kind by the word that stands in amprun.yaml, in the order in which an instance lists them."""

OWN: dict[str, type[Service]] = {"contact": Contact}
"""Kinds that stand in no amprun.yaml under `services:`: ampzero adds them itself."""
