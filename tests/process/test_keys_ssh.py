"""Certificates and revocation lists against OpenSSH itself: sshd, ssh and ssh-keygen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sshd_support import Sshd, keygen, ssh_keygen

from keys import keyfile
from keys.errors import TrustError
from keys.keyfile import PrivateKey
from keys.ssh import certificate as sshcert
from keys.ssh import krl
from keys.ssh.krl import Revoked
from lib.errors import UsageError


class Place:
    """A CA, an sshd that trusts it and no other key, and a client's key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = PrivateKey.generate()
        self.trusted = folder / "ca.pub"
        self.trusted.write_text(f"{self.ca.public}\n")
        self.list = folder / "krl"
        self.list.write_bytes(krl.render(Revoked(), datetime.now(UTC)))
        self.key = keygen(folder / "client")
        self.line = sshcert.read_public(folder / "client.pub")
        self.sshd = Sshd(folder / "sshd", f"TrustedUserCAKeys {self.trusted}", f"RevokedKeys {self.list}",
                         f"HostCertificate {folder}/sshd/host_key-cert.pub")  # fmt: skip
        self.host_line = sshcert.read_public(Path(f"{self.sshd.host_key}.pub"))
        self.certify_host("127.0.0.1")
        self.sshd.authorized.write_text("")
        self.known = folder / "known_hosts"
        self.known.write_text(f"{sshcert.authority_line(self.ca.public, '[127.0.0.1]:*', 'user-1')}\n")

    def certify_host(self, name: str) -> None:
        made = sshcert.host_certificate(self.ca, self.host_line, [name], "user-1")
        (self.folder / "sshd/host_key-cert.pub").write_text(f"{made.line}\n")

    def certify(self, *logins: str, ca: PrivateKey | None = None, ago: timedelta = timedelta()) -> int:
        made = sshcert.user_certificate(
            ca or self.ca, self.line, logins or [self.sshd.user], "user-1", now=datetime.now(UTC) - ago
        )
        (self.folder / "client-cert.pub").write_text(f"{made.line}\n")
        return made.serial

    def revoke(self, revoked: Revoked) -> None:
        self.list.write_bytes(krl.render(revoked, datetime.now(UTC)))

    def log_in(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", "-F", "none", "-i", self.key, "-p", str(self.sshd.port), "-o", "BatchMode=yes",
             "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={self.known}",
             "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes",
             f"{self.sshd.user}@127.0.0.1", "echo in"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def let_in(self) -> bool:
        done = self.log_in()
        assert done.returncode == 0 or "Permission denied" in done.stderr, done.stderr
        return done.stdout == "in\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with made.sshd:
        yield made


def test_a_certificate_logs_in_and_the_host_is_known_by_the_authority(place: Place) -> None:
    assert not place.let_in()
    place.certify()
    assert place.let_in()
    assert "user-1" in place.sshd.log.read_text()  # who issued it


def test_an_expired_one_is_refused(place: Place) -> None:
    place.certify(ago=timedelta(minutes=16))
    assert not place.let_in()
    place.certify(ago=timedelta(minutes=13))
    assert place.let_in()


def test_one_for_another_user_is_refused(place: Place) -> None:
    place.certify("somebody-else")
    assert not place.let_in()


def test_one_of_another_authority_is_refused(place: Place) -> None:
    place.certify(ca=PrivateKey.generate())
    assert not place.let_in()


def test_a_revoked_certificate_is_refused_and_others_are_not(place: Place) -> None:
    serial = place.certify()
    place.revoke(Revoked(certificates=frozenset({(str(place.ca.public), serial + 1)})))
    assert place.let_in()
    place.revoke(Revoked(certificates=frozenset({(str(place.ca.public), serial)})))
    assert not place.let_in()
    place.certify()
    assert place.let_in()


def test_a_revoked_authority_takes_every_certificate_with_it(place: Place) -> None:
    place.certify()
    assert place.let_in()
    place.revoke(Revoked(keys=frozenset({str(place.ca.public)})))
    assert not place.let_in()


def test_a_revoked_key_is_refused_with_any_certificate(place: Place) -> None:
    place.certify()
    place.revoke(Revoked(keys=frozenset({place.line})))
    assert not place.let_in()


def test_a_host_certificate_for_another_name_or_of_another_authority_is_refused(place: Place) -> None:
    place.certify()
    place.known.write_text(
        f"{sshcert.authority_line(PrivateKey.generate().public, '[127.0.0.1]:*', 'user-2')}\n"
    )
    assert "Host key verification failed" in place.log_in().stderr
    place.sshd.stop()
    place.certify_host("another.example")
    place.known.write_text(f"{sshcert.authority_line(place.ca.public, '*', 'user-1')}\n")
    place.sshd.start()
    assert "Host key verification failed" in place.log_in().stderr


def test_ssh_keygen_reads_what_we_write(place: Place, tmp_path: Path) -> None:
    serial = place.certify("root", "deploy")
    text = ssh_keygen("-L", "-f", tmp_path / "client-cert.pub")
    assert "user certificate" in text and f"Serial: {serial}" in text
    assert 'Key ID: "user-1 root,deploy"' in text and place.ca.public.fingerprint in text
    assert (
        "permit-pty" in text and "permit-agent-forwarding" not in text and "Critical Options: (none)" in text
    )
    text = ssh_keygen("-L", "-f", place.folder / "sshd/host_key-cert.pub")
    assert "host certificate" in text and "127.0.0.1" in text and "Extensions: (none)" in text
    keyfile.save(tmp_path / "ca", place.ca)
    assert ssh_keygen("-y", "-f", tmp_path / "ca").strip() == str(place.ca.public)


def test_ssh_keygen_asks_our_list(place: Place, tmp_path: Path) -> None:
    def revoked(path: Path) -> bool:
        done = subprocess.run(
            ["ssh-keygen", "-Q", "-f", place.list, path], capture_output=True, text=True, timeout=60
        )
        assert done.returncode in (0, 1) and not done.stderr.replace("REVOKED", ""), done.stderr
        return "REVOKED" in done.stdout

    serials = [place.certify() for _ in range(3)]
    place.revoke(Revoked(certificates=frozenset((str(place.ca.public), serial) for serial in serials[:2])))
    certificate, other = tmp_path / "client-cert.pub", keygen(tmp_path / "other").with_suffix(".pub")
    assert not revoked(certificate)
    place.revoke(Revoked(certificates=frozenset((str(place.ca.public), serial) for serial in serials)))
    assert revoked(certificate) and not revoked(tmp_path / "client.pub") and not revoked(other)
    rsa = keygen(tmp_path / "rsa", kind="rsa").with_suffix(".pub")
    place.revoke(Revoked(keys=frozenset(map(sshcert.read_public, (other, rsa)))))
    assert revoked(other) and revoked(rsa) and not revoked(certificate)
    listed = ssh_keygen("-Q", "-l", "-f", place.list)
    assert "version" in listed and "ampzero" in listed


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_kinds_of_keys_are_certified(place: Place, tmp_path: Path, kind: str) -> None:
    place.key = keygen(tmp_path / kind, kind=kind)
    place.line = sshcert.read_public(tmp_path / f"{kind}.pub")
    place.certify()
    (tmp_path / "client-cert.pub").rename(tmp_path / f"{kind}-cert.pub")
    assert place.let_in()


def test_bad_wishes(place: Place, tmp_path: Path) -> None:
    for logins, minutes in (([], 15), (["a b"], 15), (["root,x"], 15), (["root"], 0), (["root"], 99_999)):
        with pytest.raises(UsageError):
            sshcert.user_certificate(place.ca, place.line, logins, "user-1", minutes=minutes)
    for names, days in (([], 90), (["*"], 90), (["a b"], 90), (["a"], 0), (["a"], 10_000)):
        with pytest.raises(UsageError):
            sshcert.host_certificate(place.ca, place.line, names, "user-1", days=days)
    place.certify()
    for path in (place.key, tmp_path / "client-cert.pub"):
        with pytest.raises(TrustError):
            sshcert.read_public(path)
    for hosts in ("", "a b", "a\nb", "@x", "#"):
        with pytest.raises(UsageError):
            sshcert.authority_line(place.ca.public, hosts, "user-1")
