"""Two instances in two houses, each behind a router with NAT and miniupnpd, call each other by a hub.

Both houses use the same private addresses, and what is outside of them is joined in namespaces without a way
to the machine's own network.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contact_running import WHO
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nat_support import INSIDE, House, house, why_not
from support import Ampzero, wait_for

REASON = why_not()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(REASON), reason=REASON),
]
PORT = 8040


@dataclass
class Home:
    """An instance in the `lan` of a house, with a data folder of its own."""

    house: House
    name: str
    ampzero: Ampzero
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.house.folder / self.name

    def say(self, *words: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`ampzero WORDS`, there."""
        given = [f"{name}={value}" for name, value in self.environment.items()]
        return self.house.run("lan", "env", *given, self.ampzero.path, *words, timeout=timeout)

    def make(self, reference: str) -> None:
        """Init it at the hub."""
        done = self.say(
            "init", self.name, "--yes", "--dir", self.house.folder, "--hub", reference,
            "--set", f"port={PORT}", "--set", f"root={self.house.folder / 'var'}",
        )  # fmt: skip
        assert done.returncode == 0, done
        (self.folder / "amprun.yaml").write_text(
            f"name: {self.name}\namprun_root_directory: {self.house.folder / 'var'}\nport: {PORT}\n"
            "services:\n  ampnode: {}\n  nginx: {}\n"
        )
        (self.folder / "ampnode/services/who.py").write_text(WHO)
        (self.folder / "ampnode/ampnode.yaml").write_text("modules:\n  who: {}\n")

    def run(self, *options: str) -> None:
        done = self.say("run", self.folder, *options)
        assert done.returncode == 0, done

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say("status", self.folder, "--json").stdout)
        return found

    def until_reachable(self) -> None:
        """Wait until the hub could dial it back."""
        found: list[Any] = []

        def reached() -> bool:
            status = self.status()
            found[:] = [status["hub"], status["nat"]]
            return bool(status["hub"].get("reachable"))

        assert wait_for(reached, 40, step=0.2), found

    @property
    def id(self) -> str:
        found = next((self.folder / "ampnode").glob("host-*.public.key"))
        return found.name.removesuffix(".public.key")


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """A certificate of the hub's own for an IP address, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a hub")])
    now = datetime.datetime.now(datetime.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
        .add_extension(identifier, False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, False, False, False), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "hub.cert", folder / "hub.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    paths[1].chmod(0o600)
    return paths


def join(one: House, other: House) -> None:
    """Lead from each `wan` to the other one, and from each router there."""
    one.ip("wan", f"link add far type veth peer name far netns {other.name}.wan")
    for here, own, there, network in ((one, "9.9.9.1", "9.9.9.2", "6.6.6.0/24"),
                                      (other, "9.9.9.2", "9.9.9.1", "5.5.5.0/24")):  # fmt: skip
        here.ip("wan", f"addr add {own}/24 dev far", "link set far up", f"route add {network} via {there}")
        here.must("wan", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        here.ip("router", f"route add default via {here.outside.rpartition('.')[0]}.6")


@pytest.fixture
def homes(tmp_path: Path, ampzero: Ampzero) -> Iterator[tuple[Home, Home]]:
    """Two houses with routers that map ports, and a hub outside of both; an instance in each, not yet run."""
    with ExitStack() as stack:
        made = []
        (tmp_path / "hub").mkdir()
        shown, key = certificate(tmp_path / "hub", "5.5.5.6")
        for name, outside in (("one", "5.5.5.5"), ("other", "6.6.6.5")):
            folder = tmp_path / name
            folder.mkdir()
            at = stack.enter_context(house(folder, outside))
            own = {"XDG_DATA_HOME": str(folder / "data"), "XDG_STATE_HOME": str(folder / "state"),
                   "SSL_CERT_FILE": str(shown)}  # fmt: skip
            made.append(Home(at, name, ampzero, own))
        join(made[0].house, made[1].house)
        hub = made[0].house.start(
            "wan", ampzero.path, "hub", "serve", "--data", tmp_path / "hub/data", "--listen", "5.5.5.6:443",
            "--url", "https://5.5.5.6", "--origin", "hub.test", "--tls-certificate", shown, "--tls-key", key,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        stack.callback(end, hub)
        assert hub.stdout is not None
        reference = hub.stdout.readline().split()[-1]
        for home in made:
            assert wait_for(lambda home=home: home.say("hub", "--help").returncode == 0)  # type: ignore[misc]
            home.make(reference)
            stack.callback(home.say, "quit", home.folder)
        yield made[0], made[1]


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    if process.stdout is not None:
        process.stdout.close()


def asked(source: Home, target: Home) -> dict[str, Any]:
    done = source.say("call", "--from", source.folder, target.id, "/who/x")
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_two_instances_behind_two_nats_call_each_other(homes: tuple[Home, Home]) -> None:
    for home in homes:
        home.house.open_gateway()
        home.run()
    for home in homes:
        home.until_reachable()
        status = home.status()
        assert status["nat"]["state"] == "mapped", status["nat"]
        assert status["nat"]["external"] == f"{home.house.outside}:{PORT + 3}"
        assert status["hub"]["addresses"][0] == f"{home.house.outside}:{PORT + 3}"
        assert status["hub"]["observed"] == home.house.outside
        assert f"{INSIDE}:{PORT + 3}" in status["hub"]["addresses"]
        assert len(home.house.mapped()) == 1
    one, other = homes
    for source, target in ((one, other), (other, one)):
        said = asked(source, target)
        assert (said["me"], said["caller"]["id"]) == (target.id, source.id)
    # Who has stopped leaves no mapping behind.
    assert other.say("stop", other.folder).returncode == 0
    assert other.house.mapped() == []
    gone = one.say("call", "--from", one.folder, other.id, "/who")
    assert gone.returncode == 12, gone


def test_where_the_gateway_maps_nothing_one_calls_and_is_not_called(homes: tuple[Home, Home]) -> None:
    one, other = homes
    one.house.open_gateway()
    for home in homes:
        home.run()
    one.until_reachable()
    assert wait_for(lambda: other.status()["hub"]["state"] == "announced", 40), other.status()
    assert asked(other, one)["caller"]["id"] == other.id
    # The private address that both have is the caller's own, so it is not even dialled.
    refused = one.say("call", "--from", one.folder, other.id, "/who")
    assert refused.returncode == 12, refused
    assert wait_for(lambda: other.status()["nat"]["state"] == "none", 40), other.status()
    assert "no gateway here maps ports" in other.status()["nat"]["why"]


def test_a_port_that_was_led_by_hand_is_found_by_where_the_hub_saw_us(homes: tuple[Home, Home]) -> None:
    one, other = homes
    rules = (
        "add rule inet filter prerouting iifname outside tcp dport 8043 dnat ip to 10.77.0.2:8043;"
        "insert rule inet filter forward ip daddr 10.77.0.2 tcp dport 8043 accept"
    )
    for home in homes:
        home.house.must("router", "nft", rules)
        home.run("--no-nat-bypass")
    for home in homes:
        home.until_reachable()
        assert f"{home.house.outside}:{PORT + 3}" in home.status()["hub"]["addresses"]
        assert home.status()["nat"]["state"] == "off"
    assert asked(one, other)["me"] == other.id
    assert asked(other, one)["me"] == one.id
