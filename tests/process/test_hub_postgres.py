"""What only a hub on PostgreSQL has: URLs, a server that goes away, locks of others, a full disk there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identity_support import NOW, Party
from postgres_support import new_database, postgres_server

from keys.errors import HistoryError
from keys.hub import Hub
from keys.hub.backup import back_up
from keys.hub.making import make
from keys.hub.postgres import LOCK, PostgresDatabase, parse_url
from lib.errors import AmpzeroError, StorageError, TakenError, UsageError


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    return new_database(server, f"hub_{uuid.uuid4().hex}")


def new_hub(folder: Path, url: str) -> Hub:
    make(folder, "hub.example", "https://hub.example", NOW)
    return Hub.open(folder, database=url)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("postgresql://hub:p%40ss@db.example:5433/hubs",
         {"user": "hub", "password": "p@ss", "host": "db.example", "port": 5433, "database": "hubs"}),
        ("postgres://hub@db.example/hubs",
         {"user": "hub", "password": None, "host": "db.example", "port": 5432, "database": "hubs"}),
        ("postgresql://hub@/hubs?host=/run/postgresql",
         {"user": "hub", "unix_sock": "/run/postgresql/.s.PGSQL.5432", "database": "hubs"}),
    ],
)  # fmt: skip
def test_urls(url: str, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert settings.items() <= parse_url(url).items()
    assert "ssl_context" not in parse_url(url)
    monkeypatch.setenv("PGPASSWORD", "from the environment")
    assert parse_url(url)["password"] == (settings.get("password") or "from the environment")
    assert parse_url(url + ("&" if "?" in url else "?") + "tls=yes")["ssl_context"].check_hostname


@pytest.mark.parametrize(
    "url",
    ["", "postgresql://", "postgresql://h:secret@x", "mysql://h:secret@x/y", "postgresql://h:secret@x:99999999/y",
     "postgresql://h:secret@x/y?sslmode=disable", "postgresql://[h:secret/y"],
)  # fmt: skip
def test_a_url_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert "secret" not in caught.value.message + caught.value.hint


@given(st.text(max_size=60))
def test_any_url(text: str) -> None:
    for url in (text, f"postgresql://{text}", f"postgresql://x/{text}"):
        with suppress(UsageError):
            parse_url(url)


def test_no_server_and_no_database(url: str, server: str, tmp_path: Path) -> None:
    make(tmp_path / "hub", "hub.example", "https://hub.example", NOW)
    for wrong in (server.format("none"), "postgresql://hub:secret@127.0.0.1:1/hub",
                  f"postgresql://hub@/hub?host={tmp_path}"):  # fmt: skip
        with pytest.raises(StorageError, match="cannot use") as caught:
            Hub.open(tmp_path / "hub", database=wrong)
        assert "secret" not in caught.value.message


def test_connections_that_are_cut_fail_once(url: str, server: str, tmp_path: Path) -> None:
    hub = new_hub(tmp_path / "hub", url)
    user = Party()
    hub.register(user.first)
    other = PostgresDatabase(server.format("postgres"))
    with other.reading() as work:
        work.all("select pg_terminate_backend(pid) from pg_stat_activity where datname = ?", url.split("/")[3]
                 .split("?")[0])  # fmt: skip
    with pytest.raises(StorageError, match="cannot use"):
        hub.operations("user-1")
    assert hub.operations("user-1") == [str(user.first.note)]
    assert hub.register(Party().first)
    other.close()
    hub.close()


def test_who_writes_waits_for_others_and_not_for_ever(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keys.hub.postgres.LOCK_TIMEOUT", 200)
    hub, other = new_hub(tmp_path / "hub", url), PostgresDatabase(url)
    user = Party()
    hub.register(user.first)
    host = Party(user)
    hub.register(host.first)
    with other.reading() as work:
        work.run("begin")
        work.run(f"select pg_advisory_xact_lock({LOCK})")
        with pytest.raises(TakenError, match="busy"):
            hub.register(Party().first)
        assert hub.statement("user-1")
        hub.announce("host-1", host.announcement("host-1", 1, hub._now()))  # an announcement waits for nobody
        work.run("rollback")
    hub.register(Party().first)
    assert hub.size == 3
    other.close()
    hub.close()


def test_a_restored_dump_that_is_too_old_is_refused(url: str, server: str, tmp_path: Path) -> None:
    hub = new_hub(tmp_path / "hub", url)
    hub.register(Party().first)
    hub.checkpoint()
    hub.close()
    with pytest.raises(HistoryError, match="has only 0"):
        Hub.open(tmp_path / "hub", database=new_database(server, f"hub_{uuid.uuid4().hex}"))
    with pytest.raises(UsageError, match="pg_dump"):
        back_up(Hub.open(tmp_path / "hub", database=url), tmp_path / "backup")


def test_tables_of_a_newer_ampzero(url: str, tmp_path: Path) -> None:
    hub = new_hub(tmp_path / "hub", url)
    with hub.database.writing() as work:
        hub.database.set_version(work, 9)
    hub.close()
    with pytest.raises(AmpzeroError, match="has the format 9"):
        Hub.open(tmp_path / "hub", database=url)
