"""What a keeper has reached at the gateway: the facts that `status` shows and an announcement is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mapping:
    """A port of this machine as the world sees it; `external_port` is 0 where there is none.

    `method` is PCP, NAT-PMP, UPnP, direct (our own address is public) or empty. `lease` is in seconds, 0 for
    one without an end. `reachable`: True when a gateway with a public address says that it maps the port,
    False when that cannot be (a second NAT, no connection), None when nobody here can tell. In no case has
    anybody dialled from outside. `problem` says in one line why `reachable` is not True.
    """

    method: str = ""
    external_address: str = ""
    external_port: int = 0
    internal_port: int = 0
    lease: int = 0
    reachable: bool | None = None
    problem: str = ""

    @property
    def external(self) -> str:
        """Address and port as one types them: 203.0.113.7:8043, [2001:db8::7]:8043; empty without a port."""
        if not self.external_port:
            return ""
        host = f"[{self.external_address}]" if ":" in self.external_address else self.external_address
        return f"{host}:{self.external_port}"
