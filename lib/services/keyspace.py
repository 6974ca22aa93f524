"""Keyspace: one etcd member, alone on 127.0.0.1, or on three hosts of a deploy as a cluster with TLS."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import to_builtins

from lib.keyspace.cluster import Cluster, environment, folder, read, tls
from lib.services.base import Program, RenderedFile
from lib.services.templated import TemplatedService
from lib.supervisor.spec import Probe, ProcessSpec, Stop

PROGRAM = Program(
    name="etcd",
    version_argv=("etcd", "--version"),
    packages={"apt": "etcd-server", "dnf": "etcd", "brew": "etcd"},
    minimum=(3, 4),
)


class Keyspace(TemplatedService):
    """One etcd member; none on a host that only uses the cluster of others."""

    kind = "keyspace"
    programs = (PROGRAM,)
    stop = Stop(signal="TERM", timeout=10.0)

    @property
    def conf(self) -> Path:
        """The configuration as rendered for this run."""
        return self.context.instance.conf / f"{self.name}.conf"

    def client_port(self) -> int:
        """Where clients connect, the same at every run."""
        return self.context.port(f"{self.name}.1", self.wanted_port())

    def peer_port(self) -> int:
        """Where other members would connect; etcd wants one even when it is alone."""
        return self.context.port(f"{self.name}.peer", 0)

    def folders(self) -> list[Path]:
        """The data folder; etcd insists on 0700."""
        return [self.data]

    def environment(self) -> dict[str, str]:
        """KEYSPACE_URL, for lib.keyspace.client and for any etcd client."""
        if (cluster := self.cluster) is not None:
            return environment(folder(self.context.instance), cluster)
        return {"KEYSPACE_URL": f"http://127.0.0.1:{self.client_port()}"} if self.is_wanted() else {}

    def files(self, given: Mapping[str, str]) -> list[RenderedFile]:
        """keyspace.conf, an etcd configuration file."""
        if (cluster := self.cluster) is not None:
            return self._member_files(cluster)
        values = {
            "name": self.name,
            "data": str(self.data),
            "client_url": f"http://127.0.0.1:{self.client_port()}",
            "peer_url": f"http://127.0.0.1:{self.peer_port()}",
            "token": f"ampzero-{self.context.instance.name}",
            "debug": self.context.debug,
        }
        return [self.rendered("keyspace/keyspace-single.conf", self.conf, values)]

    @cached_property
    def cluster(self) -> Cluster | None:
        """The cluster that a deploy made, if one did."""
        return read(self.context.instance)

    def health_port(self) -> int:
        """Where a member of a cluster tells this machine how it is, without TLS."""
        return self.context.port(f"{self.name}.health", 0)

    def _member_files(self, cluster: Cluster) -> list[RenderedFile]:
        if cluster.own is None:
            return []
        own = tls(self.context.instance)
        values = {
            "members": [to_builtins(member) for member in cluster.members], "data": str(self.data),
            "state": cluster.state, "token": cluster.token, "peer_tls": own, "client_tls": own,
            "health_url": f"http://127.0.0.1:{self.health_port()}", "debug": self.context.debug,
        }  # fmt: skip
        return [self.rendered(f"keyspace/keyspace-{cluster.own}.conf", self.conf, values)]

    def _member_processes(self, cluster: Cluster) -> list[ProcessSpec]:
        """The member; ready when it knows a leader, which needs two of the three."""
        if cluster.own is None:
            return []
        member = cluster.members[cluster.own]
        urls = {"1": urlsplit(member.client_url), "peer": urlsplit(member.peer_url)}
        named = (self.context.port(f"{self.name}.{key}", url.port) for key, url in urls.items() if url.port)
        ports = (*named, self.health_port())
        ready = Probe(
            kind="http", target=f"http://127.0.0.1:{ports[-1]}/health", interval=0.1, deadline=120.0
        )
        argv = [self.context.find_program(PROGRAM.name), "--config-file", str(self.conf)]
        return [self.process(1, argv, cwd=self.data, ports=ports, ready=ready)]

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """The one member; ready when /health says that there is a leader."""
        if (cluster := self.cluster) is not None:
            return self._member_processes(cluster)
        if not self.is_wanted():
            return []
        ready = Probe(
            kind="http",
            domain="etcd",
            target=f"http://127.0.0.1:{self.client_port()}/health",
            interval=0.05,
            deadline=60.0,
        )
        argv = [self.context.find_program(PROGRAM.name), "--config-file", str(self.conf)]
        ports = (self.client_port(), self.peer_port())
        return [self.process(1, argv, cwd=self.data, ports=ports, ready=ready)]
