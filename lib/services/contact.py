"""The contact process: announces the instance at its hub, carries its calls to others, judges theirs.

ampzero adds it itself; amprun.yaml has `contact:` for it, and no entry under `services:`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from lib.contact.plan import NAME, ContactPlan
from lib.errors import MissingError
from lib.options import PASSPHRASE_VARIABLE
from lib.services.base import Service
from lib.supervisor.spec import ProcessSpec, Stop

MAIN = Path(__file__).resolve().parent.parent.parent / "keys/contact/__main__.py"


class Contact(Service):
    """One process on a unix socket; nginx listens for it. Nobody waits for it: it may take its time."""

    kind = NAME
    after = ("nginx", "ampnode")
    stop = Stop(signal="TERM", timeout=10.0)
    """In which a mapping at the gateway is removed."""

    @property
    def plan(self) -> ContactPlan:
        """What it is told.

        Raises: MissingError.
        """
        if self.context.contact is None:
            raise MissingError(f"{self.name}: there is no contact process in this run")
        return self.context.contact

    def environment(self) -> dict[str, str]:
        """Where calls to other instances begin, and the secret by which the node knows who calls."""
        return {
            "CONTACT_SOCKET": str(self.plan.socket),
            "CONTACT_SECRET_FILE": str(self.context.secret(NAME)),
        }

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """`keys/contact --socket PATH --port N`."""
        plan = self.plan
        argv = [sys.executable, "-E", "-P", str(MAIN), "--socket", str(plan.socket), "--port", str(plan.port)]
        argv += [word for address in plan.addresses for word in ("--address", address)]
        argv += ["--nat"] if plan.nat else []
        env = {PASSPHRASE_VARIABLE: plan.passphrase_file} if plan.passphrase_file else {}
        return [self.process(1, argv, env=env, stale=(str(plan.socket),))]
