"""nginx: TLS on the instance's port, its static files, and the way to the node runtime."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from lib.contact.plan import ContactPlan
from lib.errors import MissingError
from lib.ports import has_ipv6
from lib.services.base import Program, RenderedFile
from lib.services.templated import TemplatedService
from lib.supervisor.spec import Probe, ProcessSpec, Stop

PROGRAM = Program(
    name="nginx",
    version_argv=("nginx", "-v"),
    packages={"apt": "nginx", "dnf": "nginx", "brew": "nginx"},
    minimum=(1, 18),
)


class Nginx(TemplatedService):
    """One nginx master with its workers, in the foreground."""

    kind = "nginx"
    programs = (PROGRAM,)
    after = ("ampnode",)
    reload = "HUP"
    stop = Stop(signal="QUIT", timeout=10.0)
    """SIGQUIT lets requests end; worker_shutdown_timeout in nginx.conf bounds it (streams never end)."""

    @property
    def socket(self) -> Path:
        """The plain-HTTP unix socket that answers /healthz without the node."""
        return self.context.instance.sockets / f"{self.name}.sock"

    @property
    def conf(self) -> Path:
        """The configuration as rendered for this run."""
        return self.context.instance.conf / f"{self.name}.conf"

    @property
    def placeholder_flag(self) -> Path:
        """While this file is there, every page is the placeholder page (answered 503)."""
        return self.context.instance.run / "placeholder"

    def port(self) -> int:
        """The instance's port, unless the service names its own."""
        return self.context.port(f"{self.name}.1", self.wanted_port() or self.context.instance.config.port)

    def challenge_ports(self) -> tuple[int, ...]:
        """The port on which an ACME server asks, where there is one."""
        acme = self.context.instance.config.tls.acme
        return (self.context.port(f"{self.name}.acme", acme.port),) if acme else ()

    @property
    def contact(self) -> ContactPlan | None:
        """What this service does for the contact process; None where it does nothing."""
        plan = self.context.contact
        return plan if plan is not None and plan.nginx == self.name else None

    def contact_addresses(self) -> list[str]:
        """What to listen on for other instances."""
        plan = self.contact
        return self.addresses(plan.port, everywhere=plan.everywhere) if plan else []

    def folders(self) -> list[Path]:
        """Where request and response bodies that do not fit into memory go."""
        return [self.data]

    def addresses(self, port: int, *, everywhere: bool) -> list[str]:
        """What to listen on: every address, or only this machine's own."""
        if everywhere:
            return [f"{port}", f"[::]:{port}"] if has_ipv6() else [f"{port}"]
        return [f"127.0.0.1:{port}", f"[::1]:{port}"] if has_ipv6() else [f"127.0.0.1:{port}"]

    def files(self, given: Mapping[str, str]) -> list[RenderedFile]:
        """nginx.conf.

        Raises: MissingError when this run has no certificate.
        """
        certificates = self.context.certificates
        if certificates is None:
            raise MissingError(f"{self.name}: there is no TLS certificate for this run")
        acme = self.context.instance.config.tls.acme
        values = {
            "name": self.name,
            # Only a master that runs as root may change its workers' user; elsewhere `user` is an error.
            "user": pwd.getpwuid(0).pw_name if os.geteuid() == 0 else "",
            "port": self.port(),
            "addresses": self.addresses(self.port(), everywhere=self.context.server),
            "certificate": expandable(str(certificates.certificate)),
            "certificate_key": expandable(str(certificates.key)),
            "leaf": expandable(str(certificates.leaf)),
            "leaf_key": expandable(str(certificates.leaf_key)),
            "challenges": expandable(str(certificates.challenges)) if acme else "",
            "challenge_addresses": self.addresses(self.challenge_ports()[0], everywhere=True) if acme else [],
            "contact_addresses": self.contact_addresses(),
            "contact_socket": quotable(str(self.contact.socket)) if self.contact else "",
            "socket": quotable(str(self.socket)),
            "node_sockets": [quotable(path) for path in given.get("AMPNODE_SOCKETS", "").splitlines()],
            "www": expandable(str(self.source("nginx/www"))),
            "data": quotable(str(self.data)),
            "run": quotable(str(self.context.instance.run)),
            "placeholder_flag": expandable(str(self.placeholder_flag)),
            "server": self.context.server,
            "debug": self.context.debug,
        }
        return [self.rendered("nginx/nginx.conf", self.conf, values)]

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """The one master; before each start its configuration is tested."""
        if not self.is_wanted():
            return []
        argv = [self.context.find_program(PROGRAM.name), "-p", f"{self.data}/", "-c", str(self.conf)]
        check = ((*argv, "-t", "-q"),)
        ready = Probe(kind="http", domain="nginx", target=f"http+unix:{self.socket}:/healthz", interval=0.05)
        return [
            self.process(
                1,
                argv,
                cwd=self.data,
                ports=(self.port(), *self.challenge_ports(), *([self.contact.port] if self.contact else [])),
                ready=ready,
                check=check,
                stale=(str(self.socket),),
            )
        ]


def quotable(text: str) -> str:
    """`text` as it stands between double quotes in nginx.conf."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def expandable(text: str) -> str:
    """The same where nginx looks for variables: a `$` cannot be quoted, so nginx.conf has one for it."""
    return quotable(text).replace("$", "${dollar}")
