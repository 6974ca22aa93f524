"""`ready: {redis: …}` and `ready: {postgres: …}`, and what `logs:` becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import loader
from lib.config import Ready
from lib.errors import ConfigError
from lib.services.command import make_probe


@pytest.mark.parametrize(
    ("ready", "domain", "target"),
    [
        (Ready(redis=6379), "redis", "localhost:6379"),
        (Ready(redis="6379"), "redis", "localhost:6379"),
        (Ready(redis="unix:/run/redis.sock"), "redis", "unix:/run/redis.sock"),
        (Ready(postgres="db.example:5433"), "postgres", "db.example:5433"),
        (Ready(postgres="unix:/run/postgresql"), "postgres", "unix:/run/postgresql"),
    ],
)
def test_a_probe_of_a_system(ready: Ready, domain: str, target: str) -> None:
    probe = make_probe(ready, 8000)
    assert (probe.kind, probe.domain, probe.target, probe.period) == ("tcp", domain, target, 10.0)


def load(folder: Path, text: str) -> None:
    path = folder / "amprun.yaml"
    path.write_text(text)
    loader.load_config(path)


@pytest.mark.parametrize(
    "value",
    ["0", "70000", "'unix:'", "'db:'", "db:x", "':5432'", "''", "db:99999999999999999999", "[1]", "true"],
)
@pytest.mark.parametrize("key", ["redis", "postgres"])
def test_what_is_no_address(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"ready\.{key}"):
        load(tmp_path, f'services:\n  db: {{command: "true", ready: {{{key}: {value}}}}}\n')


def test_only_one_kind_of_probe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tcp and postgres are given"):
        load(tmp_path, 'services:\n  db: {command: "true", ready: {tcp: 5432, postgres: 5432}}\n')
    load(tmp_path, 'services:\n  db: {command: "true", ready: {postgres: "localhost:5432"}}\n')


def test_logs_of_any_age(tmp_path: Path) -> None:
    load(tmp_path, "logs: {age: 0, compress: false}\n")
