"""Helpers of the tests of mapping ports: a keeper in a thread, a house with a real gateway in namespaces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway
from support import Ampzero, wait_for

from lib.nat import Keeper, Mapping
from lib.nat.keeper import Pace

needs_miniupnpc = pytest.mark.skipif(sys.version_info >= (3, 14), reason="miniupnpc has no wheel for 3.14")
WAYS = ["PCP", "NAT-PMP", pytest.param("UPnP", marks=needs_miniupnpc)]

QUICK = Pace(lease=3600, check=0.1, retry=0.1, longest=0.2)
"""A keeper that looks every tenth of a second; what it asks for stays the same."""
PROGRAM = Path(__file__).with_name("nat_program.py")


@dataclass
class Kept:
    """A keeper at work, and all that it told."""

    keeper: Keeper
    told: list[Mapping]

    def wait(self, count: int = 1) -> Mapping:
        """The mapping that was told as number `count`, at the latest after 20 seconds."""
        assert wait_for(lambda: len(self.told) >= count), self.told
        return self.told[count - 1]


@contextmanager
def keeping(
    fake: FakeGateway, state: Path, *, port: int = 8043, host: str = "host-7", pace: Pace = QUICK
) -> Iterator[Kept]:
    """A keeper of `port` at this gateway, stopped at the end."""
    told: list[Mapping] = []
    keeper = Keeper(port, host, state, gateway=fake.gateway, changed=told.append, pace=pace)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        yield Kept(keeper, told)
    finally:
        keeper.stop.set()
        thread.join(60)
        assert not thread.is_alive()


# --- a real gateway -----------------------------------------------------------------------------------------

RULES = """
table inet filter {{
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "{inside}" accept
    jump miniupnpd
  }}
  chain miniupnpd {{ }}
  chain prerouting {{ type nat hook prerouting priority -100; jump prerouting_miniupnpd; }}
  chain postrouting {{
    type nat hook postrouting priority 100
    jump postrouting_miniupnpd
    oifname "{outside}" masquerade
  }}
  chain prerouting_miniupnpd {{ }}
  chain postrouting_miniupnpd {{ }}
}}
"""
CONFIG = """
ext_ifname=outside
listening_ip=inside
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
uuid={uuid}
allow 1024-65535 10.77.0.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
INSIDE = "10.77.0.2"
"""The machine in the house."""
INSIDE6 = "2a00:77::2"
"""The same one by IPv6."""
NEIGHBOUR = "10.77.0.3"
"""Another one there, which the same namespace can be."""
OUTSIDE = "5.5.5.5"


def why_not() -> str:
    """Why there can be no such house here; empty when there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if missing := [name for name in ("ip", "nft", "miniupnpd") if not find(name)]:
        return f"not installed: {', '.join(missing)}"
    rules = RULES.format(inside="a", outside="b")
    tried = subprocess.run(
        [find("unshare"), "--net", find("nft"), "-f", "-"], input=rules, capture_output=True, text=True
    )
    return f"this kernel has no nftables for NAT: {tried.stderr.strip()}" if tried.returncode else ""


def find(program: str) -> str:
    """Its path, also in the folders that a user's PATH leaves out; empty without it."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin") or ""


@dataclass
class House:
    """Namespaces `lan`, `router` and `wan`, without a way out."""

    folder: Path
    name: str = field(default_factory=lambda: f"azn{uuid.uuid4().hex[:8]}")
    daemon: subprocess.Popen[bytes] | None = None
    outside: str = OUTSIDE
    opened: float = 0.0
    """When the gateway began, as time.monotonic() has it."""

    def run(
        self, where: str, *argv: str | Path, text: str = "", timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a namespace."""
        words = [find("ip"), "netns", "exec", f"{self.name}.{where}", *map(str, argv)]
        return subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout)

    def must(self, where: str, *argv: str | Path, text: str = "") -> str:
        """The same, which has to succeed; what it wrote."""
        done = self.run(where, *argv, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, where: str, *argv: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a program in a namespace; `ip` becomes it, so that a signal meets the program itself."""
        words = [find("ip"), "netns", "exec", f"{self.name}.{where}", *map(str, argv)]
        return subprocess.Popen(words, text=True, **options)

    def set_up(self) -> None:
        """The namespaces, their cables and the router's rules."""
        for where in ("lan", "router", "wan"):
            _ip("netns", "add", f"{self.name}.{where}")
            # Without this the kernel itself speaks as soon as a cable is up.
            self.must(where, find("sysctl"), "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                      "net.ipv6.conf.default.disable_ipv6=1")  # fmt: skip
            self.ip(where, "link set lo up")
        self.ip("lan", f"link add eth0 type veth peer name inside netns {self.name}.router")
        self.ip("wan", f"link add eth0 type veth peer name outside netns {self.name}.router")
        self.ip("lan", f"addr add {INSIDE}/24 dev eth0", "link set eth0 up")
        self.ip("router", "addr add 10.77.0.1/24 dev inside", f"addr add {self.outside}/24 dev outside",
                "link set inside up", "link set outside up")  # fmt: skip
        self.ip("wan", f"addr add {self.outside.rpartition('.')[0]}.6/24 dev eth0", "link set eth0 up")
        self.ip("lan", "route add default via 10.77.0.1")
        self.must("router", find("sysctl"), "-qw", "net.ipv4.ip_forward=1")
        self.flush()

    def ip(self, where: str, *lines: str) -> None:
        """Lines of ip(8) in a namespace."""
        for line in lines:
            _ip("-n", f"{self.name}.{where}", *line.split())

    def speak_ipv6(self) -> None:
        """Give all three public IPv6 addresses; the router forwards, and lets nothing in unasked."""
        for where, interface in (
            ("lan", "eth0"),
            ("router", "inside"),
            ("router", "outside"),
            ("wan", "eth0"),
        ):
            self.must(where, find("sysctl"), "-qw", f"net.ipv6.conf.{interface}.disable_ipv6=0")
        self.must("router", find("sysctl"), "-qw", "net.ipv6.conf.all.forwarding=1")
        self.ip("router", "addr add 2a00:77::1/64 dev inside nodad", "addr add fe80::1/64 dev inside nodad",
                "addr add 2a00:55::5/64 dev outside nodad")  # fmt: skip
        self.ip("lan", f"addr add {INSIDE6}/64 dev eth0 nodad", "-6 route add default via fe80::1 dev eth0")
        self.ip("wan", "addr add 2a00:55::6/64 dev eth0 nodad", "-6 route add default via 2a00:55::5")

    def flush(self) -> None:
        """The router's rules as after its boot: no mapping."""
        self.must("router", find("nft"), "flush", "ruleset")
        rules = RULES.format(inside="inside", outside="outside")
        self.must("router", find("nft"), "-f", "-", text=rules)

    def rules(self) -> str:
        """The router's rules as they are."""
        return self.must("router", find("nft"), "list", "ruleset")

    def mapped(self) -> list[str]:
        """The rules that map a port."""
        return [line.strip() for line in self.rules().splitlines() if "dnat" in line]

    def open_gateway(self, *lines: str, without: str = "") -> None:
        """Start miniupnpd with these lines more, and without those that begin so."""
        text = CONFIG.format(uuid=uuid.uuid4())
        kept = [line for line in text.splitlines() if not (without and line.startswith(without))]
        config = self.folder / "miniupnpd.conf"
        config.write_text("\n".join([*lines, *kept]) + "\n")
        log = (self.folder / "miniupnpd.log").open("ab")
        words = [find("ip"), "netns", "exec", f"{self.name}.router", find("miniupnpd"),
                 "-d", "-f", str(config), "-P", str(self.folder / "miniupnpd.pid")]  # fmt: skip
        self.daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        self.opened = time.monotonic()
        assert wait_for(self._listens), (self.folder / "miniupnpd.log").read_text()

    def close_gateway(self) -> None:
        """End it, as a power cut does: its rules stay until `flush`."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait(60)
            self.daemon = None

    def _listens(self) -> bool:
        """NAT-PMP's port, or where that is off SSDP's."""
        sockets = self.run("router", "cat", "/proc/net/udp").stdout
        return any(f":{port:04X} " in sockets for port in (5351, 1900))

    def tear_down(self) -> None:
        """Nothing of it is left."""
        self.close_gateway()
        for where in ("lan", "router", "wan"):
            with suppress(AssertionError):
                _ip("netns", "del", f"{self.name}.{where}")


def _ip(*words: str) -> None:
    done = subprocess.run([find("ip"), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def house(folder: Path, outside: str = OUTSIDE) -> Iterator[House]:
    """A house, gone at the end."""
    made = House(folder, outside=outside)
    with ExitStack() as stack:
        stack.callback(made.tear_down)
        made.set_up()
        yield made


@dataclass
class Program:
    """tests/nat_program.py at work in a namespace."""

    process: subprocess.Popen[str]
    told: list[dict[str, Any]] = field(default_factory=list)

    def wait(self, count: int = 1) -> dict[str, Any]:
        """The mapping that it told as number `count`."""
        assert wait_for(lambda: len(self.told) >= count), self.told
        return self.told[count - 1]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def program(
    where: House, state: Path, *, port: int = 8043, host: str = "host-7",
    times: Sequence[float] = (3600, 0.2, 0.2), namespace: str = "lan",
) -> Iterator[Program]:  # fmt: skip
    """The program in a namespace; killed at the end, where it still runs."""
    words = [sys.executable, str(PROGRAM), str(port), host, str(state), *map(str, times)]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)}
    process = where.start(namespace, *words, stdout=subprocess.PIPE, env=environment)
    found = Program(process)

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found.told.append(json.loads(line))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield found
    finally:
        process.kill()
        process.wait(60)
        reader.join(60)


class Inside(Ampzero):
    """The installed command, in the namespace `lan` of a house."""

    def __init__(self, where: House) -> None:
        super().__init__([find("ip"), "netns", "exec", f"{where.name}.lan"])

    def told(self, *arguments: str | Path) -> Any:
        """What it says as JSON."""
        return json.loads(self(*arguments, "--json").out)
