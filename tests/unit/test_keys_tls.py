from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from keys.errors import TrustError
from keys.keyfile import PrivateKey
from keys.tls.authority import Authority, needs_renewal
from keys.tls.certificate import read_certificate
from keys.tls.pin import sign_pin, verify_pin
from lib.errors import MissingError, UsageError

NAMES = ("localhost", "kickass.ampzero.internal", "*.kickass.ampzero.internal")
ADDRESSES = ("127.0.0.1", "::1")


def issue(folder: Path, authority: Authority) -> tuple[Path, Path]:
    certificate, key = folder / "server.cert", folder / "server.key"
    authority.issue(certificate, key, NAMES, ADDRESSES)
    return certificate, key


def test_what_stands_in_the_certificates(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "a/ca")
    assert stat.S_IMODE((tmp_path / "a/ca").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a/ca/ca.key").stat().st_mode) == 0o600
    ca = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    limits = ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert [str(name.value) for name in limits.value.permitted_subtrees or ()] == [
        "localhost", "ampzero.internal", "127.0.0.0/8", "::1/128",
    ]  # fmt: skip
    certificate, key = issue(tmp_path, authority)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    said = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert said.get_values_for_type(x509.DNSName) == list(NAMES)
    assert [str(address) for address in said.get_values_for_type(x509.IPAddress)] == list(ADDRESSES)
    life = leaf.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=89) < life <= timedelta(days=90)


def test_opened_again_it_is_the_same(tmp_path: Path) -> None:
    first = Authority.open(tmp_path / "ca").ca_file.read_bytes()
    assert Authority.open(tmp_path / "ca").ca_file.read_bytes() == first
    (tmp_path / "ca/ca.pem").unlink()
    healed = Authority.open(tmp_path / "ca")
    assert not needs_renewal(*issue(tmp_path, healed)[:1], healed.ca_file)
    (tmp_path / "ca/ca.key").unlink()
    other = Authority.open(tmp_path / "ca")
    assert needs_renewal(tmp_path / "server.cert", other.ca_file)
    assert not needs_renewal(*issue(tmp_path, other)[:1], other.ca_file)


def test_a_ca_near_its_end_is_made_anew(tmp_path: Path) -> None:
    old = Authority.open(tmp_path / "ca", now=lambda: datetime.now(UTC) - timedelta(days=3640))
    before = old.ca_file.read_bytes()
    certificate, _ = issue(tmp_path, old)
    assert Authority.open(tmp_path / "ca").ca_file.read_bytes() != before
    late = Authority.open(tmp_path / "late", now=lambda: datetime.now(UTC) - timedelta(days=3600))
    certificate, _ = issue(tmp_path, Authority.open(tmp_path / "late"))
    ca = x509.load_pem_x509_certificate(late.ca_file.read_bytes())
    assert (
        x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc <= ca.not_valid_after_utc
    )


@pytest.mark.parametrize(
    ("names", "addresses"),
    [
        (["example.com"], []), (["evillocalhost"], []), (["evilampzero.internal"], []), (["x.internal"], []),
        (["*.localhost.com"], []), (["a b.localhost"], []), (["A.localhost"], []), ([""], []), ([], []),
        (["a.*.localhost"], []), (["*"], []), ([], ["10.0.0.1"]), ([], ["::2"]), ([], ["localhost"]),
        (["x" * 64 + ".localhost"], []), ([("x" * 60 + ".") * 5 + "localhost"], []), (["*.*.localhost"], []),
    ],
)  # fmt: skip
def test_names_of_others_are_refused(tmp_path: Path, names: list[str], addresses: list[str]) -> None:
    with pytest.raises(UsageError):
        Authority.open(tmp_path / "ca").issue(tmp_path / "c", tmp_path / "k", names, addresses)
    assert not (tmp_path / "k").exists()


def test_when_a_leaf_needs_renewal(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "ca")
    certificate, key = issue(tmp_path, authority)
    ca, now = authority.ca_file, datetime.now(UTC)
    assert not needs_renewal(certificate, ca, key=key, names=NAMES, addresses=ADDRESSES)
    assert not needs_renewal(certificate, ca, now=now + timedelta(days=59, hours=23))
    assert needs_renewal(certificate, ca, now=now + timedelta(days=60, hours=1))
    assert needs_renewal(certificate, ca, names=("other.ampzero.internal",))
    assert needs_renewal(certificate, ca, addresses=("127.0.0.2",))
    assert needs_renewal(tmp_path / "none", ca)
    assert needs_renewal(certificate, tmp_path / "none")
    assert needs_renewal(certificate, Authority.open(tmp_path / "other").ca_file)
    assert needs_renewal(ca, ca)
    whole = key.read_bytes()
    for raw in (b"", b"garbage", whole[:100], (tmp_path / "ca/ca.key").read_bytes()):
        key.write_bytes(raw)
        assert needs_renewal(certificate, ca, key=key)
    key.unlink()
    assert needs_renewal(certificate, ca, key=key)
    good = certificate.read_bytes()
    for raw in (b"", good[:200], os.urandom(500), good.replace(b"M", b"N", 3)):
        certificate.write_bytes(raw)
        assert needs_renewal(certificate, ca)


def test_damaged_ca_files(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "ca")
    for name in ("ca.key", "ca.pem"):
        whole = (tmp_path / "ca" / name).read_bytes()
        (tmp_path / "ca" / name).write_bytes(whole[:90])
        with pytest.raises(TrustError) as caught:
            Authority.open(tmp_path / "ca")
        assert "remove it" in caught.value.hint
        (tmp_path / "ca" / name).write_bytes(whole)
    assert Authority.open(tmp_path / "ca").ca_file == authority.ca_file


def test_the_hosts_pin_of_the_tls_key(tmp_path: Path) -> None:
    authority, host = Authority.open(tmp_path / "ca"), PrivateKey.generate()
    certificate, _ = issue(tmp_path, authority)
    signed = sign_pin(host, certificate)
    assert signed.startswith(f"ampzero/tls-pin/v1\nsigning: {host.public}\npin: sha256//")
    pin = verify_pin(signed, read_certificate(certificate), host.public)
    assert timedelta(days=89) < pin.expires - datetime.now(UTC) <= timedelta(days=90)
    with pytest.raises(TrustError, match="not signed by"):
        verify_pin(signed, read_certificate(certificate), PrivateKey.generate().public)
    with pytest.raises(TrustError, match="expired"):
        verify_pin(signed, read_certificate(certificate), host.public, pin.expires)
    with pytest.raises(TrustError, match="wrong"):
        verify_pin(signed.replace("expires: 2", "expires: 3"), read_certificate(certificate), host.public)
    issue(tmp_path, authority)
    with pytest.raises(TrustError, match="not of the key"):
        verify_pin(signed, read_certificate(certificate), host.public)
    with pytest.raises(MissingError):
        sign_pin(host, tmp_path / "none")
