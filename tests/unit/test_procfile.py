from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import loader
from lib.errors import ConfigError, MissingError
from lib.importers import procfile


def test_lines_become_services(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("# comment\n\nweb: gunicorn app:app -b :$PORT\r\n  Worker :  python w.py | tee x \n")
    (tmp_path / ".env").write_text("A=1\n")
    instance = loader.load_procfile(path)
    web, worker = instance.config.services["web"], instance.config.services["worker"]
    assert (web.command, web.shell, web.port, web.ready) == ("gunicorn app:app -b :$PORT", True, "auto", None)
    assert worker.command == "python w.py | tee x"
    assert worker.port == "auto"
    assert worker.ready is not None  # it is given a $PORT, but nobody says that it listens there
    assert worker.env_file == ".env"
    assert instance.directory == tmp_path


def test_a_release_line_runs_once_before_the_others(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("web: sleep 9\nrelease: migrate\n")
    services = loader.load_procfile(path).config.services
    assert services["release"].restart.policy == "never"
    assert services["release"].ready is None
    assert services["web"].depends_on == {"release": "completed_successfully"}


def test_no_env_file(tmp_path: Path) -> None:
    path = tmp_path / "Procfile.dev"
    path.write_text("redis: redis-server")
    service = loader.load_procfile(path).config.services["redis"]
    assert (service.env_file, service.kind) == (None, "command")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web", "f:1: not a line of a Procfile: 'web'"),
        ("a: x\nweb:", "f:2: not a line of a Procfile: 'web:'"),
        ("a: x\n\na: y", "f:3: 'a' stands twice"),
        ("1a: x", "f:1: '1a' is not a name for a service"),
        ("supervisor: x", "f:1: 'supervisor' is not a name for a service"),
        ("# nothing", "f:1: no service in this Procfile"),
        ("a: \0", "f:1: a zero byte"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        procfile.read(Path("f"), text.encode())
    assert caught.value.message == message


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        loader.load_procfile(tmp_path / "Procfile")


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_any_bytes(raw: bytes) -> None:
    try:
        assert procfile.read(Path("f"), raw).services
    except ConfigError as caught:
        assert caught.message.startswith("f:")
