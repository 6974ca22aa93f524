"""The user's own certificate files: what is wrong is said with its place, and a new pair is noticed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_support import Running
from support import Ampzero, unused_port, wait_for
from tls_support import Load, shown, site

TLS = "tls: {certificate: own/cert.pem, key: own/key.pem}\n"


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


def ca(folder: Path, name: str = "ca") -> Path:
    """A CA of the user's own; its key is beside it."""
    file = folder / f"{name}.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}",
            "-keyout", file.with_suffix(".key"), "-out", file)  # fmt: skip
    return file


def leaf(folder: Path, signer: Path, *, days: int = 30, key: str = "rsa:2048") -> None:
    """own/cert.pem, with its issuer's, and own/key.pem; each is replaced in one step."""
    folder.mkdir(exist_ok=True)
    request, extra = folder / "request", folder / "extra"
    extra.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl("req", "-newkey", key, "-nodes", "-subj", "/CN=localhost", "-keyout", folder / "key.new",
            "-out", request)  # fmt: skip
    openssl("x509", "-req", "-in", request, "-CA", signer, "-CAkey", signer.with_suffix(".key"),
            "-CAcreateserial", "-days", days, "-extfile", extra, "-out", folder / "cert.new")  # fmt: skip
    (folder / "cert.new").write_text((folder / "cert.new").read_text() + signer.read_text())
    (folder / "key.new").chmod(0o600)


def put(folder: Path) -> None:
    (folder / "cert.new").rename(folder / "cert.pem")
    (folder / "key.new").rename(folder / "key.pem")


@pytest.fixture
def port() -> int:
    return unused_port()


@pytest.fixture
def one(ampzero: Ampzero, tmp_path: Path, port: int) -> Iterator[Running]:
    made = Running(ampzero, site(tmp_path, port, TLS), tmp_path / "root")
    leaf(made.folder / "own", ca(tmp_path))
    put(made.folder / "own")
    yield made
    made.end()


def test_the_own_certificate_is_shown_and_another_one_is_noticed(
    one: Running, port: int, tmp_path: Path
) -> None:
    one.start()
    first = shown(port)
    assert "certificate: your own files, for localhost, 127.0.0.1, until" in (
        one.ampzero("status", one.folder).out
    )
    load = Load(port, tmp_path / "ca.pem")
    with load.running():
        # Half of a new pair: the old one stays, and what is wrong is said.
        leaf(one.folder / "own", tmp_path / "ca.pem")
        (one.folder / "own/cert.new").rename(one.folder / "own/cert.pem")
        one.until(lambda: "is not the key of" in one.status()["certificate"]["problem"])
        assert shown(port) == first
        (one.folder / "own/key.new").rename(one.folder / "own/key.pem")
        one.until(lambda: shown(port) != first)
        seen = load.answered
        assert wait_for(lambda: load.answered > seen + 100)
    assert load.failures == []
    assert one.status()["certificate"]["problem"] == ""
    assert one.ampzero("reload", one.folder).out == "nothing changed\n"


def test_reload_takes_another_one_up_at_once(one: Running, port: int, tmp_path: Path) -> None:
    one.start()
    first = shown(port)
    leaf(one.folder / "own", tmp_path / "ca.pem", key="ec:" + str(_curve(tmp_path)))
    put(one.folder / "own")
    done = one.ampzero("reload", one.folder)
    assert done.code == 0, done
    assert shown(port) != first
    # And away with them: the local CA's.
    file = one.folder / "amprun.yaml"
    file.write_text(file.read_text().replace(TLS, ""))
    assert one.ampzero("reload", one.folder).out.startswith("reload nginx")
    assert "Ampify Zero" in shown(port).issuer.rfc4514_string()
    assert one.status()["certificate"]["source"] == "local"


def _curve(folder: Path) -> Path:
    file = folder / "curve"
    openssl("ecparam", "-name", "prime256v1", "-out", file)
    return file


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def swap(own: Path) -> None:
    (own / "key.pem").rename(own / "other")
    (own / "cert.pem").rename(own / "key.pem")
    (own / "other").rename(own / "cert.pem")
    (own / "key.pem").chmod(0o600)


def other_key(own: Path) -> None:
    openssl("genrsa", "-out", own / "key.pem", "2048")


def encrypted(own: Path) -> None:
    openssl("pkey", "-in", own / "key.pem", "-aes256", "-passout", "pass:x", "-out", own / "new")
    (own / "new").chmod(0o600)
    (own / "new").rename(own / "key.pem")


def wrong_order(own: Path) -> None:
    parts = (own / "cert.pem").read_text().split("-----END CERTIFICATE-----\n")
    whole = [part + "-----END CERTIFICATE-----\n" for part in parts[:-1]]
    (own / "cert.pem").write_text(whole[0] + whole[0] + whole[1])


def expired(own: Path) -> None:
    signer = own.parent.parent / "ca.pem"
    leaf(own, signer, days=-1)
    put(own)


WRONG: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda own: (own / "key.pem").unlink(), "key", "cannot read"),
    (lambda own: (own / "cert.pem").unlink(), "certificate", "cannot read"),
    (lambda own: (own / "key.pem").chmod(0o644), "key", "others can read"),
    (lambda own: (own / "key.pem").write_text("garbage"), "key", "is not a private key"),
    (lambda own: (own / "cert.pem").write_text("garbage"), "certificate", "is not a certificate"),
    (lambda own: (own / "cert.pem").write_bytes(b"-" * 300_000), "certificate", "has more than"),
    (
        lambda own: (own / "key.pem").write_text((own / "key.pem").read_text()[:400]),
        "key",
        "not a private key",
    ),
    (swap, "certificate", "is not a certificate"),
    (other_key, "key", "is not the key of"),
    (encrypted, "key", "is encrypted"),
    (wrong_order, "certificate", "did not issue the one before it"),
    (expired, "certificate", "expired at"),
]


@pytest.mark.parametrize(("damage", "key", "words"), WRONG, ids=[f"{row[1]} {row[2]}" for row in WRONG])
def test_what_is_wrong_with_them_is_said_with_its_place(
    one: Running, damage: Callable[[Path], object], key: str, words: str
) -> None:
    damage(one.folder / "own")
    done = one.run()
    assert done.code == 4, done
    column = 7 + len("certificate: ") if key == "certificate" else TLS.index("own/key") + 1
    assert f"amprun.yaml:4:{column}: tls.{key}: " in done.err, done.err
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_wrong_new_pair_changes_nothing_at_a_reload(one: Running, port: int) -> None:
    one.start()
    before = shown(port)
    (one.folder / "own/cert.pem").write_text("garbage")
    done = one.ampzero("reload", one.folder)
    assert done.code == 4, done
    assert shown(port) == before


@pytest.mark.parametrize(
    ("tls", "where"),
    [
        ("tls: {certificate: a}\n", "4:20: tls.certificate: there is no `key` with it"),
        ("tls: {key: a}\n", "tls.key: there is no `certificate` with it"),
        ("tls: {certificate: a, key: b, acme: {names: [a.example]}}\n", "tls.acme: stands beside"),
        ("tls: {acme: {names: [a.example]}}\n", "tls.acme.agree: the terms of service of https://acme-v02"),
        ("tls: {acme: {agree: true}}\n", "tls.acme.names: names no name"),
        ("tls: {acme: {agree: true, names: [localhost]}}\n", "tls.acme.names[0]: is not a public DNS name"),
        ("tls: {acme: {agree: true, names: ['*.a.example']}}\n", "tls.acme.names[0]: is for all names below"),
        ("tls: {acme: {agree: true, names: [10.0.0.1]}}\n", "tls.acme.names[0]: is not a public DNS name"),
        ("tls: {acme: {agree: true, names: [A.example]}}\n", "tls.acme.names[0]: is not a public DNS name"),
        ("tls: {acme: {agree: true, names: [a.example, a.example]}}\n", "tls.acme.names: has a name twice"),
        (
            "tls: {acme: {agree: true, names: [a.example], directory: 'http://a'}}\n",
            "tls.acme.directory: is not",
        ),
        ("tls: {acme: {agree: true, names: [a.example], email: me}}\n", "tls.acme.email: is not"),
        ("tls: {acme: {agree: true, names: [a.example], prot: 1}}\n", "tls.acme.prot: unknown key"),
    ],
)
def test_what_cannot_be_meant(ampzero: Ampzero, tmp_path: Path, tls: str, where: str) -> None:
    folder = site(tmp_path, unused_port(), tls)
    done = ampzero("run", folder)
    assert done.code == 4, done
    assert where in done.err


def test_without_nginx_nobody_shows_it(ampzero: Ampzero, tmp_path: Path) -> None:
    folder = site(tmp_path, unused_port(), "tls: {certificate: a, key: b}\n")
    file = folder / "amprun.yaml"
    file.write_text(file.read_text().replace("nginx: {}", "worker: {command: sleep 9}"))
    assert "there is no nginx here to show" in ampzero("run", folder).err
