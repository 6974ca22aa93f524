"""A keyspace of three members, with TLS on both sides: who may talk to it, and the loss of one member."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from running_support import Running
from support import unused_port, wait_for

from lib.errors import UsageError
from lib.keyspace.client import KeyspaceClient
from lib.keyspace.credentials import Credentials, credentials
from lib.keyspace.transport import KeyspaceError
from lib.programs.known import find_program
from lib.services.templated import TEMPLATES
from lib.template import render_string


class Authority:
    """Makes certificates that are good for both ends of a connection, below `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keyspace of a test")])
        self.certificate = folder / "ca.pem"
        self._write(self.certificate, self._made(self._name, self._key, ca=True))

    def credentials(self, name: str) -> Credentials:
        """A certificate for 127.0.0.1, called `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        self._write(certificate, self._made(subject, key, ca=False))
        private.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))  # fmt: skip
        private.chmod(0o600)
        return Credentials(self.certificate, certificate, private)

    def _made(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )  # fmt: skip
        if not ca:
            both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


class Cluster:
    """Three etcds, each with a certificate of its own."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.members = [
            {"name": f"keyspace-{number}", "client_url": f"https://127.0.0.1:{unused_port()}",
             "peer_url": f"https://127.0.0.1:{unused_port()}"}
            for number in range(3)
        ]  # fmt: skip
        self.etcds: dict[str, subprocess.Popen[bytes]] = {}
        for number, member in enumerate(self.members):
            own = authority.credentials(member["name"])
            tls = {"certificate": str(own.certificate), "key": str(own.key), "ca": str(own.authority)}
            source = TEMPLATES / f"keyspace/keyspace-{number}.conf"
            values = {"members": self.members, "data": str(folder / f"data-{number}"), "state": "new",
                      "token": "tested", "peer_tls": tls, "client_tls": tls,
                      "health_url": "", "debug": False}  # fmt: skip
            conf = folder / f"{number}.conf"
            conf.write_text(render_string(source.read_text(), values, name=str(source)))
            with (folder / f"{number}.log").open("wb") as log:
                self.etcds[member["name"]] = subprocess.Popen(
                    [find_program("etcd"), "--config-file", conf], stdout=log, stderr=log
                )

    @property
    def urls(self) -> list[str]:
        """Where clients connect."""
        return [member["client_url"] for member in self.members]

    def kill(self, name: str) -> None:
        """End one of them at once."""
        self.etcds[name].kill()
        self.etcds[name].wait()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def cluster(tmp_path: Path, authority: Authority) -> Iterator[Cluster]:
    made = Cluster(tmp_path, authority)
    yield made
    for name in made.etcds:
        made.kill(name)


def can_write(client: KeyspaceClient, value: str) -> bool:
    try:
        client.set("k", value)
    except KeyspaceError:
        return False
    return True


def test_writes_go_on_without_one_member_and_strangers_are_refused(
    tmp_path: Path, authority: Authority, cluster: Cluster
) -> None:
    client = KeyspaceClient(cluster.urls, credentials=authority.credentials("client"))
    assert wait_for(lambda: can_write(client, "first"), 60)
    master = client.getmaster()
    cluster.kill(master)
    assert wait_for(lambda: can_write(client, "second"), 60)
    assert client.get("k") == b"second"
    assert client.getmaster() not in ("", master)

    left = [member["client_url"] for member in cluster.members if member["name"] != master]
    stranger = Authority(tmp_path / "other").credentials("client")
    for one in (stranger, stranger._replace(authority=authority.certificate)):
        with pytest.raises(KeyspaceError):
            KeyspaceClient(left, credentials=one).get("k")
    plain = [url.replace("https", "http") for url in left]
    with pytest.raises(KeyspaceError):
        KeyspaceClient(plain).get("k")
    assert client.get("k") == b"second"


def test_an_endpoint_without_tls_is_no_endpoint_of_a_cluster(authority: Authority) -> None:
    with pytest.raises(UsageError, match="is not https://host:port"):
        KeyspaceClient("http://127.0.0.1:1", credentials=authority.credentials("client"))
    with pytest.raises(UsageError, match="is not http://host:port"):
        KeyspaceClient("https://127.0.0.1:1")


def test_the_environment_names_all_three_files_or_none(authority: Authority, tmp_path: Path) -> None:
    own = authority.credentials("client")
    given = {"KEYSPACE_CA": str(own.authority), "KEYSPACE_CERTIFICATE": str(own.certificate)}
    assert credentials({}) is None
    assert credentials({**given, "KEYSPACE_KEY": str(own.key)}) == own
    with pytest.raises(UsageError, match="go together"):
        credentials(given)
    with pytest.raises(UsageError, match="cannot be used"):
        KeyspaceClient("https://127.0.0.1:1", credentials=own._replace(key=tmp_path / "none"))


def is_told(host: Running, text: str) -> bool:
    return host.output("web") == [text.encode()]


def test_three_hosts_run_one_keyspace_and_a_fourth_uses_it(
    tmp_path: Path, authority: Authority, make_running: Callable[..., Running]
) -> None:
    members = [
        {"name": f"host-{number}", "client_url": f"https://127.0.0.1:{unused_port()}",
         "peer_url": f"https://127.0.0.1:{unused_port()}"}
        for number in range(3)
    ]  # fmt: skip
    tells = "sh -c 'echo $KEYSPACE_URL $KEYSPACE_KEY; exec sleep 600'"
    hosts = [
        make_running(f"services:\n  keyspace: {{}}\n  web: {{command: {json.dumps(tells)}}}\n", name=name)
        for name in ("one", "two", "three", "four")
    ]
    for number, host in enumerate(hosts):
        folder = host.root / host.folder.name / "state/keyspace"
        folder.mkdir(parents=True, mode=0o700)
        told = {"members": members, "token": "t", "own": number if number < 3 else None}
        (folder / "cluster.json").write_text(json.dumps(told))
        for role in ("member", "client"):
            own = authority.credentials(f"{role}-{number}")
            (folder / "ca.pem").write_bytes(own.authority.read_bytes())
            (folder / f"{role}.pem").write_bytes(own.certificate.read_bytes())
            (folder / f"{role}.key").write_bytes(own.key.read_bytes())
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda host: host.run("--server"), hosts))
    assert [each.code for each in done] == [0] * 4, done
    urls = ",".join(member["client_url"] for member in members)
    for host in hosts:
        key = host.var / "state/keyspace/client.key"
        assert wait_for(partial(is_told, host, f"{urls} {key}")), host.output("web")
    assert hosts[3].service("keyspace")["processes"] == []
    folder = hosts[3].var / "state/keyspace"
    client = KeyspaceClient(
        urls, credentials=Credentials(folder / "ca.pem", folder / "client.pem", folder / "client.key")
    )
    client.set("k", "first")
    assert hosts[0].stop().code == 0
    assert wait_for(lambda: can_write(client, "second"), 60)
    assert client.get("k") == b"second"
    done[0] = hosts[0].run("--server")
    assert done[0].code == 0, done[0]
    hosts[1].stop()
    port = int(members[1]["peer_url"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        checked = hosts[1].run("--server", "--dry-run")
    assert checked.code == 7 and str(port) in checked.err, checked
