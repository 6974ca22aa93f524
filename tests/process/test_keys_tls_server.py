"""The local CA and its leaves, judged by openssl and by curl against a real TLS server."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from keys.keyfile import PrivateKey
from keys.tls.authority import Authority
from keys.tls.certificate import make_leaf, read_certificate
from keys.tls.pin import sign_pin, verify_pin

NAMES = ("localhost", "kickass.ampzero.internal", "*.kickass.ampzero.internal")
ADDRESSES = ("127.0.0.1", "127.1.2.3", "::1")


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority.open(tmp_path / "ca")
    authority.issue(tmp_path / "server.cert", tmp_path / "server.key", NAMES, ADDRESSES)
    return authority


def openssl_verify(authority: Authority, certificate: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run(
        "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", authority.ca_file, *more,
        certificate,
    )  # fmt: skip


def test_openssl_accepts_the_leaf(tmp_path: Path, authority: Authority) -> None:
    leaf = tmp_path / "server.cert"
    for more in ([], *(["-verify_hostname", name] for name in ("localhost", NAMES[1], f"a.{NAMES[1]}")),
                 *(["-verify_ip", address] for address in ADDRESSES)):  # fmt: skip
        done = openssl_verify(authority, leaf, *more)
        assert done.returncode == 0, (more, done.stderr)
    assert openssl_verify(authority, authority.ca_file, "-purpose", "any").returncode == 0
    assert openssl_verify(authority, leaf, "-verify_hostname", "example.com").returncode != 0
    other = Authority.open(tmp_path / "other")
    assert openssl_verify(other, leaf).returncode != 0
    assert openssl_verify(authority, leaf, "-purpose", "sslclient").returncode == 0, (
        "instances call each other"
    )
    assert openssl_verify(authority, leaf, "-purpose", "smimesign").returncode != 0
    later = str(int((datetime.now(UTC) + timedelta(days=91)).timestamp()))
    assert openssl_verify(authority, leaf, "-attime", later).returncode != 0


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("bank.com"),
        x509.DNSName("other.internal"),
        x509.DNSName("evilampzero.internal"),
        x509.IPAddress(ip_address("8.8.8.8")),
        x509.IPAddress(ip_address("::2")),
    ],
)
def test_the_ca_cannot_sign_for_others(tmp_path: Path, authority: Authority, name: x509.GeneralName) -> None:
    """What a thief of the CA's key could make: refused by the name constraints, not by our own checks."""
    key = load_pem_private_key((tmp_path / "ca/ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    ca = read_certificate(authority.ca_file)
    evil = ec.generate_private_key(ec.SECP256R1()).public_key()
    made = make_leaf(evil, ca, key, [name], 90, datetime.now(UTC))
    (tmp_path / "evil").write_bytes(made.public_bytes(Encoding.PEM))
    done = openssl_verify(authority, tmp_path / "evil")
    assert done.returncode != 0
    assert "permitted subtree violation" in done.stderr


@contextmanager
def tls_server(folder: Path, address: str = "127.0.0.1") -> Iterator[int]:
    """A small HTTPS server of Python's ssl on a free port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.cert", folder / "server.key")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        ended = threading.Event()

        def serve() -> None:
            while True:
                plain, _ = listener.accept()
                with plain:
                    if ended.is_set():
                        return
                    plain.settimeout(30)
                    try:
                        with context.wrap_socket(plain, server_side=True) as stream:
                            stream.recv(4096)
                            stream.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            socket.create_connection((address, listener.getsockname()[1]), timeout=30).close()
            thread.join(60)


def curl(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return run("curl", "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", *argv)


def test_curl_accepts_the_server(tmp_path: Path, authority: Authority) -> None:
    with tls_server(tmp_path) as port:
        for name in ("localhost", "127.0.0.1", "kickass.ampzero.internal"):
            done = curl(
                "--cacert", authority.ca_file, "--connect-to", f"{name}:{port}:127.0.0.1:{port}", f"https://{name}:{port}/"
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
        assert curl(f"https://localhost:{port}/").returncode == 60
        other = Authority.open(tmp_path / "other").ca_file
        assert curl("--cacert", other, f"https://127.0.0.1:{port}/").returncode == 60


def test_curl_accepts_it_over_ipv6(tmp_path: Path, authority: Authority) -> None:
    try:
        with tls_server(tmp_path, "::1") as port:
            done = curl("--globoff", "--cacert", authority.ca_file, f"https://[::1]:{port}/")
            assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")


def test_curl_accepts_the_hosts_pin(tmp_path: Path, authority: Authority) -> None:
    host = PrivateKey.generate()
    signed = sign_pin(host, tmp_path / "server.cert")
    digest = verify_pin(signed, read_certificate(tmp_path / "server.cert"), host.public).digest
    with tls_server(tmp_path) as port:
        argv = ("--cacert", authority.ca_file, f"https://127.0.0.1:{port}/")
        good = curl("--pinnedpubkey", f"sha256//{digest}", *argv)
        assert (good.returncode, good.stdout) == (0, "hello"), good.stderr
        assert curl("--pinnedpubkey", f"sha256//{'A' * 43}=", *argv).returncode == 90
