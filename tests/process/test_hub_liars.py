"""A hub that lies, rolls back, equivocates or talks nonsense is refused, and the evidence is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_support import LIFTED, Served, Status, Tamper, answer, bad_server, liar, serving
from identity_support import Party
from support import Ampzero

from keys import statement
from keys.datafolder import data_folder
from keys.errors import BusyError, HistoryError, TrustError
from keys.hubclient.reference import Reference
from keys.keyfile import PrivateKey
from lib.errors import AmpzeroError, UnreachableError


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hub") / "data", *LIFTED) as served:
        yield served


def evidence(hub: Served) -> list[str]:
    folder = data_folder() / "hubs" / hub.client().name / "evidence"
    return [path.read_text() for path in sorted(folder.glob("*"))]


def on(part: str, change: Callable[[bytes], bytes]) -> Tamper:
    """Change the answers to the requests that begin with `part`."""
    return lambda line, _, raw: change(raw) if line.startswith(part) else raw


def field(name: str, change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """Change one field of a JSON answer."""

    def changed(raw: bytes) -> bytes:
        fields = json.loads(raw)
        fields[name] = change(fields[name])
        return json.dumps(fields).encode()

    return changed


def test_a_fingerprint_that_is_another_hubs(hub: Served) -> None:
    with pytest.raises(TrustError, match="is not the hub with the fingerprint"):
        hub.client().connect(Reference(hub.url, "A" * 43))


def other_statement(raw: bytes) -> bytes:
    """A statement about other keys, signed by nobody's key."""
    fields = json.loads(raw)
    said, _ = statement.parse(fields["statement"])
    forged = PrivateKey.generate()
    fields["statement"] = statement.sign(said, forged)
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "change",
    [
        other_statement,
        field("statement", lambda text: text.replace("seq: 1", "seq: 2")),
        field("statement", lambda text: text.replace("id: user-", "id: user-9")),
        field("id", lambda id: id + "9"),
        field("index", lambda index: index + 1),
        field("proof", lambda proof: {**proof, "hashes": []}),
        field("proof", lambda proof: {**proof, "hashes": ["A" * 43 + "="] * 3}),
        field("proof", lambda proof: {**proof, "hashes": ["x"]}),
        field("proof", lambda proof: {**proof, "checkpoint": "x"}),
        lambda raw: b"{}",
        lambda raw: b"[" * 50_000,
        lambda raw: b"null",
        lambda raw: raw[:-20],
        lambda raw: b"\xff" * 100,
    ],
)
def test_a_registration_that_is_not_what_it_says(hub: Served, change: Callable[[bytes], bytes]) -> None:
    for _ in range(2):
        hub.client().register(Party().first)  # so that a proof has hashes
    with liar(hub, on("POST /v1/ids", change)) as url:
        client = hub.client(url)
        with pytest.raises((TrustError, HistoryError)) as caught:
            client.register(Party().first)
    assert "\n" not in caught.value.message
    hub.client().register(Party().first)  # the true one is as good as before


def test_an_entry_that_is_not_in_the_log_is_evidence(hub: Served) -> None:
    hub.client().register(Party().first)
    forged = on("POST /v1/ids", field("proof", lambda proof: {**proof, "hashes": ["A" * 43 + "="]}))
    with liar(hub, forged) as url, pytest.raises(HistoryError, match="that is another"):
        hub.client(url).register(Party().first)
    assert any("of its log, and that is another" in text for text in evidence(hub))


def test_another_identity_than_the_one_that_was_asked_for(hub: Served) -> None:
    client = hub.client()
    user = Party()
    other = statement.parse(client.register(Party().first))[0].id
    mine = statement.parse(client.register(user.first))[0].id
    swapped = {f"GET /v1/ids/{mine}": f"/v1/ids/{other}", f"GET /v1/ids/{mine}/ops": f"/v1/ids/{other}/ops"}

    def swap(line: str, status: int, raw: bytes) -> bytes:
        return hub.ask("GET", swapped[line])[2] if line in swapped else raw

    with liar(hub, swap) as url, pytest.raises(TrustError, match="answered with a statement about"):
        hub.client(url).prove(mine)
    del swapped[f"GET /v1/ids/{mine}"]
    with liar(hub, swap) as url, pytest.raises(TrustError, match="do not say"):
        hub.client(url).prove(mine)


def test_a_hub_that_hides_newer_operations(hub: Served) -> None:
    client, user = hub.client(), Party()
    id = statement.parse(client.register(user.first))[0].id
    old = hub.ask("GET", f"/v1/ids/{id}")[2]
    client.operate(id, user.change())
    hiding = on(f"GET /v1/ids/{id}", lambda raw: raw if b"---" in raw else old)
    with liar(hub, hiding) as url, pytest.raises(TrustError, match="do not say"):
        hub.client(url).prove(id)


@pytest.mark.parametrize("status", [400, 404, 418, 301])
def test_a_hub_that_will_not_prove_that_its_log_grew(hub: Served, status: int) -> None:
    hub.client().register(Party().first)
    hub.client().log.look()
    hub.client().log.look()

    def silent(line: str, _: int, raw: bytes) -> bytes:
        if "/v1/log/proof?from=" in line:
            raise Status(status, b'{"error": "no"}')
        return raw

    with liar(hub, silent) as url:
        client = hub.client(url)
        hub.ask("POST", "/v1/ids", str(Party().first.note).encode())  # the log grows behind our back
        with pytest.raises(HistoryError, match="has two logs"):
            client.log.look()
    assert evidence(hub)
    hub.client().log.look()  # the true one can prove it


def test_trouble_on_the_way_accuses_nobody(hub: Served) -> None:
    hub.client().log.look()

    def troubled(line: str, _: int, raw: bytes) -> bytes:
        if "/v1/log/proof?from=" in line:
            raise Status(502, b"<html>Bad Gateway</html>")
        return raw

    with liar(hub, troubled) as url:
        client = hub.client(url)
        hub.ask("POST", "/v1/ids", str(Party().first.note).encode())
        before = evidence(hub)
        with pytest.raises(UnreachableError):
            client.log.look()
    assert evidence(hub) == before


def test_a_hub_that_went_back(tmp_path: Path) -> None:
    with serving(tmp_path / "hub") as hub:
        hub.client().register(Party().first)
    shutil.copytree(tmp_path / "hub", tmp_path / "old")
    with serving(tmp_path / "hub", port=hub.port) as hub:
        hub.client().register(Party().first)
    with serving(tmp_path / "old", port=hub.port) as back:
        client = back.client()
        with pytest.raises(HistoryError, match="went back from 2 to 1 entries"):
            client.log.look()
        with pytest.raises(HistoryError):
            client.register(Party().first)  # it has two entries now, and they are others
        done = Ampzero()("hub", "status", "--hub", str(back.reference))
        assert done.code == 11
        assert "evidence" in done.err
    assert len(evidence_of(client.name)) >= 2
    with serving(tmp_path / "hub", port=hub.port) as true:
        assert true.client().log.look().size == 2, "the true hub is believed as before"


def evidence_of(name: str) -> list[Path]:
    return sorted((data_folder() / "hubs" / name / "evidence").glob("*"))


def test_a_hub_that_shows_two_logs(tmp_path: Path) -> None:
    with serving(tmp_path / "hub") as hub:
        hub.client().register(Party().first)
    shutil.copytree(tmp_path / "hub", tmp_path / "fork")
    with serving(tmp_path / "hub", port=hub.port) as hub:
        hub.client().register(Party().first)
    with serving(tmp_path / "fork", port=hub.port) as fork:
        for _ in range(2):
            assert fork.ask("POST", "/v1/ids", str(Party().first.note).encode())[0] == 200
        for _ in range(2):  # it stays so: nothing of it was remembered
            with pytest.raises(HistoryError, match="two logs"):
                fork.client().log.look()
        [path] = evidence_of(fork.client().name)
    text = path.read_text()
    assert text.count(f"— {hub.client} ") == 0
    assert text.count("===== seen") == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_hub_of_the_same_name(tmp_path: Path) -> None:
    with serving(tmp_path / "hub") as hub:
        hub.client()
    with serving(tmp_path / "other", port=hub.port) as other, pytest.raises(HistoryError, match="this name"):
        other.client()


def test_the_root_changes_hands_and_never_back(tmp_path: Path) -> None:
    ampzero, folder = Ampzero(), tmp_path / "hub"
    with serving(folder) as hub:
        client, user = hub.client(), Party()
        id = statement.parse(client.register(user.first))[0].id
        old = client.root_note
    shutil.copytree(folder, tmp_path / "old")
    note = tmp_path / "next"
    new_root = PrivateKey.generate()
    (tmp_path / "new.key").write_bytes(new_root.encode())
    (tmp_path / "new.key").chmod(0o600)
    done = ampzero("hub", "root", "draft", "--data", folder, "--new-online-key",
                   "--root-key", str(new_root.public), "--out", note)  # fmt: skip
    assert done.code == 0, done.err
    for key in (folder / "root.key", tmp_path / "new.key"):
        early = ampzero("hub", "root", "install", "--data", folder, note)
        assert early.code == 1, "not signed by enough"
        assert ampzero("hub", "root", "sign", note, "--key", key).code == 0
    assert ampzero("hub", "root", "install", "--data", folder, note).code == 0
    with serving(folder, port=hub.port) as newer:
        assert client.root.version == 1
        said = statement.parse(client.statement(id))[0]  # signed by the new key: the client walks by itself
        assert (client.root.version, said.genesis) == (2, user.genesis)
        client.prove(id)
        assert newer.client().root.version == 2
        assert newer.reference == hub.reference, "what was given out to users stays"
        again = hub.client().known(old)
        assert again.prove(id)[0].genesis == user.genesis
    with serving(tmp_path / "old", port=hub.port) as back:
        for attempt in (back.client, hub.client):
            with pytest.raises(HistoryError, match="went back from root version 2 to 1"):
                attempt()


@pytest.mark.parametrize("path", ["hub", "ids/user-1", "ids/user-1/ops"])
def test_ten_megabytes(hub: Served, path: str) -> None:
    hub.client().register(Party().first)
    huge = on(f"GET /v1/{path}", lambda raw: b"x" * 10_000_000)
    with liar(hub, huge) as url, pytest.raises(TrustError, match="with more than"):
        hub.client(url).prove("user-1")


@pytest.mark.parametrize("body", [b"", b"\0" * 50, b"<html>hello</html>", b"ampzero/hub/v1\n", b"\n\n\n"])
def test_garbage_from_the_first_word_on(body: bytes) -> None:
    with bad_server(lambda connection, _: connection.sendall(answer(body))) as url:
        done = Ampzero()("hub", "status", "--hub", f"{url}#{'A' * 43}")
    assert done.code == 1
    assert (done.err.count("error:"), "Traceback" in done.err) == (1, False)


def test_words_of_a_hub_do_not_reach_the_terminal_raw(hub: Served) -> None:
    def rude(line: str, _: int, raw: bytes) -> bytes:
        if line.startswith("GET /checkpoint"):
            raise Status(
                404, json.dumps({"error": "\x1b[2J\x07" + "x" * 5000, "hint": "\n\n# rm -rf"}).encode()
            )
        return raw

    with liar(hub, rude) as url:
        client = hub.client(url)
        with pytest.raises(AmpzeroError) as caught:
            client.log.look()
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 400
    assert "\n" not in caught.value.hint


def test_a_busy_hub_is_asked_again_for_a_while(hub: Served) -> None:
    left = [2]

    def busy(line: str, _: int, raw: bytes) -> bytes:
        if line.startswith("POST") and left[0]:
            left[0] -= 1
            raise Status(503, b'{"error": "busy"}')
        return raw

    with liar(hub, busy) as url:
        user = Party()
        with pytest.raises(BusyError):
            hub.client(url).register(user.first)
        assert statement.parse(hub.client(url, patience=20).register(user.first))[0].genesis == user.genesis
    assert left == [0]
