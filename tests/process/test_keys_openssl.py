"""Our keys and signatures, judged by openssl and ssh-keygen."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest

from keys import keyfile, note, operation
from keys.hub import LocalHub
from keys.identities import HUB_FILE, Identities, create_identities
from keys.keyfile import PrivateKey
from keys.publickey import PublicKey

PASSPHRASE = "correct horse battery"
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""RFC 8410: a SubjectPublicKeyInfo of Ed25519 up to the key."""


def run(*argv: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )  # fmt: skip


@pytest.fixture(params=["", PASSPHRASE], ids=["plain", "passphrase"])
def passphrase(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def identities(tmp_path: Path, passphrase: str) -> Identities:
    (tmp_path / "ampnode").mkdir()
    hub = LocalHub.open(tmp_path / "data/hub")
    return create_identities(
        tmp_path / "ampnode", hub=hub, pending=tmp_path / "data/pending/x", passphrase=passphrase
    )


def openssl_verifies(folder: Path, key: PublicKey, text: str, signature: bytes) -> bool:
    (folder / "key.der").write_bytes(SPKI_PREFIX + key.raw)
    (folder / "text").write_text(text)
    (folder / "signature").write_bytes(signature)
    done = run(
        "openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", folder / "key.der",
        "-in", folder / "text", "-sigfile", folder / "signature",
    )  # fmt: skip
    return done.returncode == 0 and "Signature Verified Successfully" in done.stdout


@pytest.mark.parametrize("passphrase", [""], indirect=True)
def test_openssl_verifies_the_hubs_signatures(tmp_path: Path, identities: Identities) -> None:
    """By hand, as docs/keys.md tells it: nothing of ours takes the files apart."""
    lines = (identities.folder / HUB_FILE).read_text().splitlines()
    keys = {name: line.split()[-1] for line in lines for name in ("online", "root") if line.startswith(name)}
    for name, file in (("online", "user-1"), ("online", "host-1"), ("root", "hub")):
        whole = (identities.folder / f"{file}.public.key").read_text()
        text, _, signatures = whole.rpartition("\n\n")
        signature = base64.b64decode(signatures.split()[-1])[4:]
        key = PublicKey(base64.b64decode(keys[name])[-32:])
        assert openssl_verifies(tmp_path, key, text + "\n", signature)
        assert not openssl_verifies(tmp_path, key, text, signature)
        assert not openssl_verifies(tmp_path, key, text.replace("seq: 1", "seq: 2") + "\n", signature[::-1])


@pytest.mark.parametrize("passphrase", [""], indirect=True)
def test_openssl_verifies_the_first_operations(tmp_path: Path, identities: Identities) -> None:
    hub = LocalHub.open(tmp_path / "data/hub")
    for id in (identities.user_id, identities.host_id):
        signed = operation.parse(hub.operations(id)[0])
        keys = [key for key in (signed.operation.signing, *signed.operation.control) if key]
        for key in keys:
            verifier = note.Verifier(operation.SIGNER, key)
            value = next(s.value for s in signed.note.signatures if s.key_id == verifier.key_id)
            assert openssl_verifies(tmp_path, key, signed.operation.text, value)


def test_ssh_keygen_reads_the_keys(identities: Identities, passphrase: str) -> None:
    for kind, said in (("user", identities.user), ("host", identities.host)):
        for part, public in (("private", said.signing), ("control", said.control[-1].key)):
            path = identities.path(kind, part)
            done = run("ssh-keygen", "-y", "-P", passphrase, "-f", path)
            assert (done.returncode, done.stdout.strip()) == (0, str(public)), done.stderr
            wrong = run("ssh-keygen", "-y", "-P", "wrong one", "-f", path)
            assert (wrong.returncode == 0) == (not passphrase)
            listed = run("ssh-keygen", "-l", "-f", path)
            assert public is not None
            assert public.fingerprint in listed.stdout


def test_ssh_keygen_signs_with_our_key_and_we_read_its_keys(tmp_path: Path, passphrase: str) -> None:
    made = run(
        "ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "someone", "-f", tmp_path / "theirs"
    )
    assert made.returncode == 0, made.stderr
    theirs = keyfile.load(tmp_path / "theirs", passphrase)
    assert str(theirs.public) == (tmp_path / "theirs.pub").read_text().rpartition(" ")[0]
    assert keyfile.header((tmp_path / "theirs").read_bytes()).encrypted == bool(passphrase)
    ours = PrivateKey.generate()
    keyfile.save(tmp_path / "ours", ours)
    (tmp_path / "text").write_text("text")
    signed = run("ssh-keygen", "-Y", "sign", "-n", "test", "-f", tmp_path / "ours", tmp_path / "text")
    assert signed.returncode == 0, signed.stderr
    (tmp_path / "allowed").write_text(f"someone {ours.public}\n")
    with (tmp_path / "text").open() as text:
        judged = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-n", "test", "-I", "someone", "-f", str(tmp_path / "allowed"),
             "-s", str(tmp_path / "text.sig")],
            stdin=text, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert judged.returncode == 0, judged.stderr


@pytest.mark.parametrize("passphrase", [""], indirect=True)
def test_the_documented_commands_work(tmp_path: Path, identities: Identities) -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs/keys.md").read_text()
    script = docs.partition("```sh\n")[2].partition("```")[0]
    (tmp_path / "tmp").mkdir()
    for file in ("user-1", "host-1"):
        done = subprocess.run(
            ["sh", "-euc", script.replace("user-1", file)],
            cwd=identities.folder, capture_output=True, text=True, timeout=60,
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        verdict, private, signing = done.stdout.splitlines()
        assert verdict == "Signature Verified Successfully"
        assert f"signing: {private}" == signing
