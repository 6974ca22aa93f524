"""`ampzero keys` as it is typed: on a fresh instance, on damaged files, with a passphrase, for SSH."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sshd_support import keygen, ssh_keygen
from support import Ampzero, Result

from keys.identities import load_identities


class Place:
    """An instance `app` in the folder of a test."""

    def __init__(self, folder: Path, ampzero: Ampzero, *options: str | Path) -> None:
        self.folder = folder
        self.app = folder / "app"
        self.keys = self.app / "ampnode"
        self._ampzero = ampzero
        made = ampzero("init", "app", "--yes", "--dir", folder, "--set", f"root={folder}/var", *options)
        assert made.code == 0, made.err

    def __call__(self, verb: str, *arguments: str | Path) -> Result:
        return self._ampzero("keys", verb, self.app, *arguments, cwd=self.folder)

    def done(self, verb: str, *arguments: str | Path) -> str:
        result = self(verb, *arguments)
        assert result.code == 0, result.err
        return result.out


@pytest.fixture
def place(tmp_path: Path, ampzero: Ampzero) -> Place:
    return Place(tmp_path, ampzero)


def test_a_fresh_instance_explains_its_whole_chain_of_trust(place: Place) -> None:
    lines = place.done("verify").splitlines()
    assert {line.split()[0] for line in lines} == {"ok", "--"}
    text = "\n".join(lines)
    links = ("root key   SHA256:", "hub        local.", "online key SHA256:",
             "user-1     operation 1: register", "user-1     statement of local.",
             "host-1     operation 1: register", "owner      host-1 belongs to user-1", "TLS pin    ",
             "user-1.private.key: SHA256:", "not checked: whether the hub knows newer")  # fmt: skip
    places = [text.index(link) for link in links]
    assert places == sorted(places)
    for name in ("user-1.private.key", "host-1.private.key", "user-1.control.key", "host-1.control.key"):
        said = ssh_keygen("-l", "-f", place.keys / name).split()[1]
        assert f"{name}: {said}" in text
    assert "knows no newer operation" in place.done("verify", "--online")
    assert {one["verdict"] for one in json.loads(place.done("verify", "--json"))} == {"ok", "--"}


def test_list_and_show(place: Place) -> None:
    rows = place.done("list").splitlines()
    assert [row.split()[0] for row in rows] == [
        *(f"{id}.{part}.key" for id in ("user-1", "host-1")
          for part in ("private", "control", "public", "operations")), "hub.public.key",
    ]  # fmt: skip
    assert rows[0].split()[1] == "0600" and "no passphrase" in rows[0]
    found = json.loads(place.done("show", "--json"))
    assert found["host"]["owner"] == "user-1" and found["user"]["seq"] == 1
    assert "owner    user-1" in place.done("show", "host") and "id       user-1" not in place.done(
        "show", "host"
    )
    assert json.loads(place.done("list", "--json"))[0]["encrypted"] is False


def foreign(keys: Path, name: str) -> None:
    shutil.copy(keys.parent.parent / "other/ampnode" / name, keys / name)


def truncated(keys: Path, name: str) -> None:
    os.truncate(keys / name, (keys / name).stat().st_size // 2)


def emptied(keys: Path, name: str) -> None:
    os.truncate(keys / name, 0)


def swapped(keys: Path, name: str) -> None:
    other = name.replace("user-1", "x").replace("host-1", "user-1").replace("x", "host-1")
    raw = (keys / name).read_bytes()
    (keys / name).write_bytes((keys / other).read_bytes())
    (keys / other).write_bytes(raw)


def binary(keys: Path, name: str) -> None:
    (keys / name).write_bytes(bytes(range(256)) * 9)


def readable(keys: Path, name: str) -> None:
    (keys / name).chmod(0o644)


def test_a_damaged_file_is_named_in_one_line(place: Place, ampzero: Ampzero) -> None:
    other = ampzero("init", "other", "--yes", "--dir", place.folder, "--set", f"root={place.folder}/var")
    assert other.code == 0
    # Another user's, with the same ids: nothing but signatures tells them apart.
    stranger = place.folder / "home"
    made = ampzero("init", "other", "--yes", "--dir", place.folder / "app", "--set",
                   f"root={place.folder}/var", env={"XDG_DATA_HOME": str(stranger)})  # fmt: skip
    assert made.code == 0
    shutil.rmtree(place.folder / "other")
    (place.folder / "app/other").rename(place.folder / "other")
    good = place.folder / "good"
    shutil.copytree(place.keys, good)
    damages: list[Callable[[Path, str], None]] = [foreign, truncated, emptied, swapped, binary]
    for part in ("private", "control", "public", "operations"):
        for damage in [*damages, *([readable] if part in ("private", "control") else [])]:
            name = f"host-1.{part}.key"
            damage(place.keys, name)
            for verb in ("verify", "list") if damage in (foreign, truncated) else ("verify",):
                result = place(verb)
                if part == "operations" and verb == "list":
                    assert result.code == 0  # only `verify` reads it
                    continue
                errors = [line for line in result.err.splitlines() if line.startswith("ampzero: error: ")]
                assert result.code == 1 and len(errors) == 1, (damage, name, verb, result.err)
                assert "host-1" in errors[0] or "user-1" in errors[0], errors
                if damage in (truncated, emptied, binary, readable):
                    assert name in errors[0], errors
                assert "Traceback" not in result.err
            shutil.rmtree(place.keys)
            shutil.copytree(good, place.keys)
    for damage in (foreign, truncated, emptied, binary):
        damage(place.keys, "hub.public.key")
        result = place("list")
        assert result.code == 1 and result.err.count("ampzero: error: ") == 1, result.err
        assert place("verify").code == 1
        shutil.copy(good / "hub.public.key", place.keys)
    assert place("verify").code == 0


def test_nothing_secret_gets_into_git(place: Place) -> None:
    place.done("rotate", "user", "--control")
    place.done("rotate", "host", "--control")
    status = subprocess.run(["git", "status", "--porcelain"], cwd=place.app, capture_output=True, text=True)
    names = {line.split()[1] for line in status.stdout.splitlines()}
    assert names == {
        *(f"ampnode/{id}.{part}.key" for id in ("user-1", "host-1") for part in ("public", "operations")),
        "nginx/server.pin",
    }
    assert "the TLS pin" not in place.done("verify") and "WRONG" not in place.done("verify")


def test_with_a_passphrase(tmp_path: Path, ampzero: Ampzero) -> None:
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    secret.write_text("correct horse\n")
    wrong.write_text("battery staple\n")
    place = Place(tmp_path, ampzero, "--passphrase-file", secret)
    result = place("rotate", "user")
    assert result.code == 2 and "--passphrase-file" in result.err
    result = place("rotate", "user", "--passphrase-file", wrong)
    assert result.code == 1 and "wrong passphrase" in result.err
    place.done("rotate", "user", "--passphrase-file", wrong, "--passphrase-file", secret)
    assert load_identities(place.keys).encrypted
    text = place.done("verify")
    assert "encrypted" in text and "not checked: that its passphrase opens it" in text
    done = subprocess.run(
        ["ssh-keygen", "-y", "-P", "correct horse", "-f", place.keys / "user-1.private.key"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(load_identities(place.keys).user.signing)


def test_a_recovery_key_takes_everything_back(place: Place) -> None:
    stick = place.folder / "stick/recovery.key"
    stick.parent.mkdir()
    before = load_identities(place.keys)
    place.done("recovery", stick)
    assert stick.stat().st_mode & 0o777 == 0o600
    assert "already" in place("recovery", stick).err
    for path in place.keys.glob("*.private.key"):
        path.unlink()
    for path in place.keys.glob("*.control.key"):
        path.unlink()
    result = place("rotate", "user")
    assert result.code == 5 and "keys recover" in result.err
    assert place("recover", "user").code == 2
    place.done("recover", "user", "--key", stick)
    place.done("recover", "host")
    assert "WRONG" not in place.done("verify", "--online")
    after = load_identities(place.keys)
    assert after.user.genesis == before.user.genesis and after.host.signing != before.host.signing
    assert after.path("host", "control").exists()


def test_an_exported_identity_is_believed_without_anything_else(
    place: Place, ampzero: Ampzero, tmp_path: Path
) -> None:
    place.done("rotate", "user", "--control")
    file = tmp_path / "app.identity.json"
    assert place.done("export").strip() == file.name
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(file, elsewhere)
    alone = ampzero("keys", "verify", elsewhere / file.name, env={"XDG_DATA_HOME": str(elsewhere / "data")})
    assert alone.code == 0 and "operation 2: rotate" in alone.out and not (elsewhere / "data").exists()
    assert "PRIVATE" not in (elsewhere / file.name).read_text()
    text = (elsewhere / file.name).read_text()
    (elsewhere / file.name).write_text(text.replace("seq: 2", "seq: 3", 1))
    forged = ampzero("keys", "verify", elsewhere / file.name)
    assert forged.code == 1 and "WRONG" in forged.out and forged.err.count("ampzero: error:") == 1
    assert json.loads(place.done("export", "-o", "-"))["format"] == "ampzero/bundle/v1"
    # An instance that was made before the chains were kept gets them.
    (place.keys / "host-1.operations.key").unlink()
    assert place("verify").code == 5
    place.done("export")
    place.done("verify")


def test_certificates_for_ssh(place: Place, tmp_path: Path) -> None:
    client = keygen(tmp_path / "id").with_suffix(".pub")
    signing = load_identities(place.keys).user.signing
    assert signing
    line = place.done("ssh-ca", "--sshd").strip()
    assert line == f"{signing} user-1"
    assert place.done("ssh-ca", "--known-hosts", "*.example.org").startswith(
        "@cert-authority *.example.org ssh-"
    )
    assert place.done("ssh-ca").splitlines() == [line, f"@cert-authority * {line}"]
    path = Path(place.done("ssh-cert", "--user", "root", "--user", "deploy", "--key", client).strip())
    assert path == tmp_path / "id-cert.pub"
    shown = ssh_keygen("-L", "-f", path)
    assert (
        "user certificate" in shown and "root" in shown and "deploy" in shown and signing.fingerprint in shown
    )
    host = keygen(tmp_path / "host").with_suffix(".pub")
    made = place.done("ssh-host-cert", "--key", host, "--host", "www.example.org", "-o", "-")
    (tmp_path / "made.pub").write_text(made)
    assert "host certificate" in ssh_keygen("-L", "-f", tmp_path / "made.pub")
    for wrong in (("--minutes", "0"), ("--minutes", "99999"), ("--user", "a b"), ("--user", "")):
        assert place("ssh-cert", "--key", client, *wrong).code == 2
    assert place("ssh-cert", "--key", tmp_path / "id").code == 1  # the private key
    assert place("ssh-cert", "--key", tmp_path / "none").code == 5


def test_what_is_revoked_for_ssh(place: Place, tmp_path: Path) -> None:
    client = keygen(tmp_path / "id").with_suffix(".pub")
    certificate = place.done("ssh-cert", "--user", "root", "--key", client).strip()
    krl = tmp_path / "krl"

    def revoked() -> bool:
        done = subprocess.run(["ssh-keygen", "-Q", "-f", krl, certificate], capture_output=True, text=True)
        return "REVOKED" in done.stdout

    place.done("ssh-krl", "-o", krl)
    assert not revoked()
    place.done("ssh-krl", certificate, "-o", krl)
    assert revoked()
    assert place("ssh-krl", place.keys / "hub.public.key", "-o", krl).code == 1
    place.done("ssh-krl", "-o", krl)  # it is remembered
    assert revoked()
    certificate = place.done("ssh-cert", "--user", "root", "--key", client).strip()
    assert not revoked()
    # With the user's key goes all that it signed.
    place.done("revoke", "user", "--yes")
    place.done("ssh-krl", "-o", krl)
    assert revoked()
    assert place("ssh-ca").code == 5 and place("ssh-cert", "--key", client).code == 5
    place.done("rotate", "user")
    certificate = place.done("ssh-cert", "--user", "root", "--key", client).strip()
    place.done("ssh-krl", "-o", krl)
    assert not revoked()


def test_names_that_are_none(ampzero: Ampzero, tmp_path: Path) -> None:
    for verb, *more in (["list"], ["show"], ["rotate", "user"], ["export"], ["verify"], ["ssh-ca"]):
        result = ampzero("keys", verb, tmp_path / "nowhere", *more)
        assert result.code == 5 and result.err.count("ampzero: error:") == 1, (verb, result.err)
    assert ampzero("keys", "rotate", ".", "everybody").code == 2


def test_killed_at_random_moments(place: Place, ampzero: Ampzero) -> None:
    """The installed command: each try is killed, and in between the keys are valid."""
    began = time.monotonic()
    place.done("rotate", "user", "--control")
    takes = time.monotonic() - began
    dice = random.Random(11)
    for _ in range(8):
        process = subprocess.Popen(
            [ampzero.path, "keys", "rotate", str(place.app), "user", "--control"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(takes * dice.uniform(0.4, 1.0))  # the moment of the kill is what is tried here
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert load_identities(place.keys).path("user", "private").exists()
    place.done("rotate", "user", "--control")
    assert "WRONG" not in place.done("verify", "--online")
    assert not list(place.keys.glob("*.previous"))
