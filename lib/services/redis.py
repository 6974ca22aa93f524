"""Redis, from the instance's ampnode/redis.conf, on a unix socket and a port of 127.0.0.1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lib.services.base import Program, RenderedFile
from lib.services.templated import TemplatedService
from lib.supervisor.spec import Probe, ProcessSpec, Stop

PROGRAM = Program(
    name="redis-server",
    version_argv=("redis-server", "--version"),
    packages={"apt": "redis-server", "dnf": "redis", "brew": "redis"},
    minimum=(6, 0),
)


class Redis(TemplatedService):
    """One redis-server with its data under var/data."""

    kind = "redis"
    programs = (PROGRAM,)
    stop = Stop(signal="TERM", timeout=20.0)
    """SIGTERM saves what is not yet on the disk; with much of it that takes a while."""

    @property
    def socket(self) -> Path:
        """The unix socket, 0700 in a 0700 folder."""
        return self.context.instance.sockets / f"{self.name}.sock"

    @property
    def conf(self) -> Path:
        """The configuration as rendered for this run."""
        return self.context.instance.conf / f"{self.name}.conf"

    def port(self) -> int:
        """The TCP port on 127.0.0.1, the same at every run."""
        return self.context.port(f"{self.name}.1", self.wanted_port())

    def folders(self) -> list[Path]:
        """The data folder."""
        return [self.data]

    def environment(self) -> dict[str, str]:
        """REDIS_URL (over the socket), REDIS_SOCKET and REDIS_PORT."""
        if not self.is_wanted():
            return {}
        return {
            "REDIS_URL": f"unix://{self.socket}",
            "REDIS_SOCKET": str(self.socket),
            "REDIS_PORT": str(self.port()),
        }

    def files(self, given: Mapping[str, str]) -> list[RenderedFile]:
        """redis.conf."""
        values = {
            "name": self.name,
            "socket": quotable(str(self.socket)),
            "port": self.port(),
            "data": quotable(str(self.data)),
            "debug": self.context.debug,
        }
        return [self.rendered("ampnode/redis.conf", self.conf, values)]

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """The one server; ready when it answers PING (while it loads its data it answers -LOADING)."""
        if not self.is_wanted():
            return []
        ready = Probe(
            kind="tcp",
            domain="redis",
            target=f"unix:{self.socket}",
            send="PING\r\n",
            expect="+PONG",
            interval=0.05,
            deadline=60.0,
        )
        argv = [self.context.find_program(PROGRAM.name), str(self.conf)]
        return [self.process(1, argv, cwd=self.data, ports=(self.port(),), ready=ready)]


def quotable(text: str) -> str:
    """`text` as it stands between double quotes in redis.conf."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
