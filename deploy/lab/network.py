"""The network of a lab: a switch in a namespace of its own, a cable to each host and one to the machine.

No host has a route but the subnet's, and the machine forwards nothing that comes from it. Everything is found
again by its name: namespaces `azl.LAB` (the switch) and `azl.LAB.HOST`; the machine's end of its cable is
named after the subnet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from deploy.lab.tools import run
from lib.errors import AmpzeroError, MissingError

NAMESPACES = Path("/run/netns")
"""Where `ip netns` keeps them (ip-netns(8))."""
PRIVATE = IPv4Network("10.213.0.0/16")
"""Labs take their subnets from here."""
FIRST = 11
"""The last number of the first host's address; the machine has 1."""
SMALL, LARGE = 24, 20
"""Prefix lengths of a subnet for up to 240 hosts, and for more."""
QUEUE = 100_000
"""Packets that netem may hold back: its own 1000 are few for a burst to fifty hosts."""


def capacity(subnet: IPv4Network) -> int:
    """How many hosts have room in `subnet`."""
    return subnet.num_addresses - FIRST - 1


def address_of(subnet: IPv4Network, number: int) -> IPv4Address:
    """The address of the host with this number, from 1."""
    return subnet[FIRST + number - 1]


def choose_subnet(hosts: int, taken: Sequence[IPv4Network]) -> IPv4Network:
    """A subnet for so many hosts which no other lab and no route of this machine touches.

    Raises: AmpzeroError when there is none.
    """
    used = [*taken, *_routed()]
    for prefix in (SMALL, LARGE):
        for subnet in PRIVATE.subnets(new_prefix=prefix):
            if capacity(subnet) >= hosts and not any(subnet.overlaps(other) for other in used):
                return subnet
    raise AmpzeroError(f"no free subnet for {hosts} hosts in {PRIVATE}", "ampzero lab status")


def is_used(subnet: IPv4Network, taken: Sequence[IPv4Network]) -> bool:
    """Whether another lab or a route of this machine touches `subnet`. Raises: AmpzeroError."""
    return any(subnet.overlaps(other) for other in (*taken, *_routed()))


def _routed() -> Iterator[IPv4Network]:
    for route in json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]"):
        if route["dst"] != "default":
            yield IPv4Network(route["dst"], strict=False)


@dataclass(frozen=True)
class Network:
    """The network of the lab `lab`.

    What the machine and each host send is held back so that a round trip takes `rtt` seconds, and a share
    `loss` (0..1) of it is lost.
    """

    lab: str
    subnet: IPv4Network
    rtt: float = 0.0
    loss: float = 0.0

    @property
    def switch(self) -> str:
        """The namespace of the bridge."""
        return f"azl.{self.lab}"

    @property
    def link(self) -> str:
        """The machine's interface; IFNAMSIZ leaves 15 characters."""
        high, low = self.subnet.network_address.packed[2:]
        return f"azl{high}-{low}"

    def namespace(self, host: str) -> str:
        """The namespace of a host."""
        return f"{self.switch}.{host}"

    def make(self) -> None:
        """Make the switch, and the cable to this machine.

        Raises: AmpzeroError, MissingError when the kernel cannot delay or lose packets.
        """
        run(["ip", "netns", "add", self.switch])
        _batch(self.switch, ["link add lab type bridge", "link set lab up", "link set lo up"])
        _batch("", [f"link add {self.link} type veth peer name machine netns {self.switch}"])
        for setting, value in (("ipv4/conf/{}/forwarding", "0"), ("ipv6/conf/{}/disable_ipv6", "1")):
            path = Path("/proc/sys/net") / setting.format(self.link)
            if path.exists():
                path.write_text(value)
        own = f"{self.subnet[1]}/{self.subnet.prefixlen}"
        _batch("", [f"addr add {own} dev {self.link}", f"link set {self.link} up"])
        _batch(self.switch, ["link set machine master lab up"])
        self._shape([], self.link)

    def plug(self, hosts: Mapping[str, str]) -> None:
        """Give these hosts (names with addresses) their namespace and cable.

        Raises: AmpzeroError.
        """
        _batch("", [f"netns add {self.namespace(name)}" for name in hosts])
        # The hardware's address stays the same, so that nobody waits for a new one after a boot.
        _batch("", [
            f"link add {name} netns {self.switch} type veth peer name eth0"
            f" address {_hardware(address)} netns {self.namespace(name)}"
            for name, address in hosts.items()
        ])  # fmt: skip
        for name, address in hosts.items():
            own = f"addr add {address}/{self.subnet.prefixlen} dev eth0"
            _batch(self.namespace(name), ["link set lo up", own, "link set eth0 up"])
            self._shape(["-n", self.namespace(name)], "eth0")
        _batch(self.switch, [f"link set {name} master lab up" for name in hosts])

    def pull(self, host: str) -> None:
        """Take a host's cable away, where it has one: from now on nothing leaves it.

        Raises: AmpzeroError.
        """
        if host in _links(self.switch):
            _batch(self.switch, [f"link del {host}"])

    def forget(self, host: str) -> None:
        """Take away the namespace of a host in which nothing runs any more, and its cable; harmless without.

        Raises: AmpzeroError.
        """
        if (NAMESPACES / self.namespace(host)).exists():
            self.pull(host)
            _batch("", [f"netns del {self.namespace(host)}"])

    def set_link(self, host: str, state: str) -> None:
        """Let a host's cable be `up` or `down`.

        Raises: AmpzeroError.
        """
        _batch(self.switch, [f"link set {host} {state}"])

    def _shape(self, where: Sequence[str], interface: str) -> None:
        if not self.rtt and not self.loss:
            return
        delay = ["delay", f"{self.rtt / 2 * 1000:.3f}ms", "loss", f"{self.loss * 100:.4f}%"]
        rule = ["root", "netem", "limit", str(QUEUE), *delay]
        try:
            run(["tc", *where, "qdisc", "replace", "dev", interface, *rule])
        except AmpzeroError as error:
            if not re.search("qdisc kind is unknown|qdisc not found", error.message):
                raise
            raise MissingError(
                "this kernel has no sch_netem, without which there is no --rtt and no --loss",
                "modprobe sch_netem (Ubuntu: linux-modules-extra-*, Fedora: kernel-modules-extra)",
            ) from error


def labs() -> set[str]:
    """The labs of which there are namespaces."""
    names = (path.name.split(".") for path in NAMESPACES.glob("azl.*"))
    return {words[1] for words in names}


def remove(lab: str) -> None:
    """Take away what there is of a lab's network; nothing may run in it any more.

    Raises: AmpzeroError.
    """
    # A cable goes with either of its ends; without this one here the machine would keep its own for a moment.
    left = namespaces(lab)
    switch = f"azl.{lab}"
    if switch in left and "machine" in _links(switch):
        _batch(switch, ["link del machine"])
    _batch("", [f"netns del {name}" for name in left])


def _links(namespace: str) -> set[str]:
    return {link["ifname"] for link in json.loads(run(["ip", "-n", namespace, "-j", "link"]))}


def _hardware(address: str) -> str:
    """A locally administered MAC address made of the IPv4 one (IEEE 802: bit 2 of the first byte)."""
    return f"02:00:{IPv4Address(address).packed.hex(':')}"


def namespaces(lab: str) -> list[str]:
    """The namespaces of a lab that are there."""
    if not NAMESPACES.is_dir():
        return []
    switch = f"azl.{lab}"
    names = (path.name for path in NAMESPACES.iterdir())
    return sorted(name for name in names if name == switch or name.startswith(f"{switch}."))


def _batch(namespace: str, lines: Sequence[str]) -> None:
    """Run lines of ip(8) in one process, in a namespace or (empty) in the machine's."""
    if lines:
        run(["ip", *(["-n", namespace] if namespace else []), "-batch", "-"], "\n".join(lines) + "\n")
