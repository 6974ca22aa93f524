"""`deploy --setup --ssh-ca`: a real sshd is told whom to let in, and left alone where it does not agree."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd_support import Sshd, keygen
from support import wait_for

from deploy.agent import sshca
from deploy.agent.errors import AgentError
from keys.keyfile import PrivateKey
from keys.ssh import certificate as sshcert


class Place:
    """An sshd whose configuration is in `etc`, with a folder of drop-ins as distributions have it."""

    def __init__(self, folder: Path) -> None:
        self.sshd = Sshd(folder / "etc", f"Include {folder}/etc/sshd_config.d/*.conf")
        self.etc = self.sshd.folder
        self.sshd.authorized.write_text("")
        self.key = keygen(folder / "client")
        self.ca = PrivateKey.generate()
        self.reloaded = 0

    def reload(self) -> bool:
        self.reloaded += 1
        assert self.sshd._child is not None
        os.kill(self.sshd._child.pid, signal.SIGHUP)
        return wait_for(self.sshd.answers)

    def trust(self, ca: PrivateKey, owner: str = "ampzero:app:production") -> list[str]:
        return sshca.trust(str(ca.public), owner, lambda _: None, etc=self.etc, reload=self.reload)

    def lets_in(self, ca: PrivateKey) -> bool:
        line = sshcert.read_public(Path(f"{self.key}.pub"))
        made = sshcert.user_certificate(ca, line, [self.sshd.user], "user-1")
        Path(f"{self.key}-cert.pub").write_text(f"{made.line}\n")
        done = subprocess.run(
            ["ssh", "-F", "none", "-i", self.key, "-p", str(self.sshd.port), "-o", "BatchMode=yes",
             "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={self.sshd.known_hosts()}",
             f"{self.sshd.user}@127.0.0.1", "echo in"], capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout == "in\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with made.sshd:
        yield made


def test_it_lets_in_whom_the_key_certifies(place: Place) -> None:
    assert not place.lets_in(place.ca)
    assert place.trust(place.ca) == ["sshd lets in whom ampzero:app:production certifies"]
    assert wait_for(lambda: place.lets_in(place.ca))
    assert place.trust(place.ca) == [] and place.reloaded == 1  # nothing to do
    # Another instance has a line of its own; a new key takes the place of the old one.
    other, new = PrivateKey.generate(), PrivateKey.generate()
    place.trust(other, "ampzero:other:production")
    place.trust(new)
    assert wait_for(lambda: place.lets_in(new))
    assert place.lets_in(other) and not place.lets_in(place.ca)
    assert (place.etc / sshca.CA_FILE).stat().st_mode & 0o777 == 0o644


def left_alone(place: Place, before: bytes | None) -> bool:
    file = place.etc / sshca.CA_FILE
    found = file.read_bytes() if file.exists() else None
    return found == before and not (place.etc / sshca.DROP_IN).exists() and place.reloaded == 0


def test_an_sshd_that_trusts_another_file_is_left_alone(place: Place) -> None:
    config = place.etc / "sshd_config"
    config.write_text(f"TrustedUserCAKeys {place.etc}/mine\n{config.read_text()}")
    with pytest.raises(AgentError, match=r"its TrustedUserCAKeys is .*/mine") as caught:
        place.trust(place.ca)
    assert str(place.ca.public) in caught.value.hint
    assert left_alone(place, None)


def test_an_sshd_that_includes_no_folder_is_left_alone(place: Place) -> None:
    config = place.etc / "sshd_config"
    config.write_text("\n".join(config.read_text().splitlines()[1:]))
    with pytest.raises(AgentError, match="its TrustedUserCAKeys is none") as caught:
        place.trust(place.ca)
    assert "Include" in caught.value.hint
    assert left_alone(place, None)


def test_a_configuration_that_is_wrong_is_left_alone(place: Place) -> None:
    (place.etc / "sshd_config").write_text("Nonsense yes\n")
    with pytest.raises(AgentError, match="sshd refuses its configuration"):
        place.trust(place.ca)
    assert left_alone(place, None)


@pytest.mark.parametrize("key", ["", "ssh-rsa AAAA", "ssh-ed25519 AAAA", "cert-authority x\n"])
def test_what_is_no_key_is_refused(place: Place, key: str) -> None:
    with pytest.raises(AgentError):
        sshca.trust(key, "ampzero:app:production", lambda _: None, etc=place.etc)
    with pytest.raises(AgentError):
        sshca.trust(str(place.ca.public), "two words\n", lambda _: None, etc=place.etc)
    assert left_alone(place, None)
