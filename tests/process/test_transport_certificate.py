"""`ssh: {certificate: true}`: a deploy logs in with certificates that the user's key makes on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd_support import Sshd
from support import Ampzero

from deploy.environment import load_environment
from deploy.session import Signer, ssh_settings
from deploy.transport import Settings, open_transport
from deploy.transport.usercertificate import UserCertificates
from keys import keyfile
from keys.keyfile import PrivateKey
from keys.ssh import certificate as sshcert
from lib.errors import UnreachableError
from lib.loader import load_instance


class Place:
    """An instance, and an sshd that trusts its user's key and no other."""

    def __init__(self, folder: Path, ampzero: Ampzero) -> None:
        secret = folder / "passphrase"
        secret.write_text("correct horse\n")
        made = ampzero("init", "app", "--yes", "--dir", folder, "--set", f"root={folder}/var",
                       "--passphrase-file", secret)  # fmt: skip
        assert made.code == 0, made.err
        self.folder = folder / "app"
        self.private = self.folder / "ampnode/user-1.private.key"
        self.asked: list[Path] = []
        trusted = folder / "trusted"
        trusted.write_text(f"{keyfile.load(self.private, 'correct horse').public}\n")
        self.sshd = Sshd(folder / "sshd", f"TrustedUserCAKeys {trusted}")
        self.sshd.authorized.write_text("")

    def ask(self, path: Path) -> str:
        self.asked.append(path)
        return "correct horse"

    def settings(self, *, certificate: bool = True) -> Settings:
        (self.folder / "deployment.yaml").write_text(
            f"ssh: {{certificate: {str(certificate).lower()}, config: {os.devnull}, "
            f"known_hosts: {self.sshd.known_hosts()}}}\n"
            f"environments: {{test: {{hosts: [{self.sshd.address}]}}}}\n"
        )
        signer = Signer(load_instance(str(self.folder)), self.ask)
        return ssh_settings(load_environment(self.folder, None), signer)

    def greeting(self, settings: Settings) -> str:
        with open_transport(self.sshd.address, settings) as transport:
            return transport.run(["echo", "hello"], timeout=60).out.decode().strip()


@pytest.fixture
def place(tmp_path: Path, ampzero: Ampzero, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = Place(tmp_path, ampzero)
    with made.sshd:
        yield made


def test_it_logs_in_without_any_other_key(place: Place) -> None:
    settings = place.settings()
    assert [place.greeting(settings) for _ in range(2)] == ["hello", "hello"]
    assert place.asked == [place.private]  # once for all hosts
    assert "user-1 deploy" in place.sshd.log.read_text()
    with pytest.raises(UnreachableError, match="no key to log in with"):
        place.greeting(place.settings(certificate=False))


def test_a_host_that_does_not_trust_it_is_tried_with_other_keys(place: Place) -> None:
    other = PrivateKey.generate()
    settings = place.settings()
    settings.certificates = UserCertificates(
        lambda public, login: sshcert.user_certificate(other, public, [login], "user-9").line
    )
    with pytest.raises(UnreachableError, match="is not let in"):
        place.greeting(settings)
    place.sshd.authorized.write_text(Path(f"{place.sshd.key}.pub").read_text())
    settings.key = place.sshd.key
    assert place.greeting(settings) == "hello"


def test_a_certificate_is_for_one_login_and_is_used_again() -> None:
    made: list[tuple[str, str]] = []
    ca = PrivateKey.generate()

    def certify(public: str, login: str) -> str:
        made.append((public, login))
        return sshcert.user_certificate(ca, public, [login], "user-1").line

    certificates = UserCertificates(certify)
    assert certificates.key("root") is certificates.key("root")
    assert certificates.key("deploy") is not certificates.key("root")
    assert [login for _, login in made] == ["root", "deploy"] and made[0][0] != made[1][0]
