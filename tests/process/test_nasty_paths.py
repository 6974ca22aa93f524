"""Folders with spaces, quotes, `$`, `%`, `#` and letters of all kinds in their names, and impossible ones."""

from __future__ import annotations

import http.client
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_support import Running
from support import Ampzero, unused_port

MakeRunning = Callable[..., Running]

NASTY = "a \"b'c\\ $d${e} ü😀%f;#{"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a nasty name, and short: else the sockets would be elsewhere."""
    folder = Path(tempfile.mkdtemp(prefix="an"))
    (folder / NASTY).mkdir()
    yield folder / NASTY
    shutil.rmtree(folder)


@pytest.fixture
def whole(ampzero: Ampzero, place: Path) -> Iterator[tuple[Running, int]]:
    """An instance as `init` makes it, all of it in the nasty folder."""
    port = unused_port()
    done = ampzero("init", "d", "--yes", "--dir", place, "--set", f"root={place}/v", "--set", f"port={port}")
    assert done.code == 0, done
    one = Running(ampzero, place / "d", place / "v")
    yield one, port
    one.end()


def get(port: int, path: str) -> tuple[int, bytes]:
    context = ssl._create_unverified_context()  # noqa: S323 -- a certificate of a CA made for this test
    connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_quote_or_a_dollar_in_a_path_broke_nginx(whole: tuple[Running, int]) -> None:
    one, port = whole
    one.start(timeout=90)
    assert (one.var / "run/nginx.sock").is_socket(), "the sockets are in the nasty folder too"
    assert get(port, "/")[0] in (200, 303)
    assert get(port, "/robots.txt") == (200, (one.folder / "nginx/www/robots.txt").read_bytes())
    flag = one.var / "run/placeholder"
    flag.touch()
    assert get(port, "/")[0] == 503
    flag.unlink()
    assert one.ampzero("keyspace", "set", one.folder, "a", "b").code in (0, 2)
    done = one.ampzero("scale", one.folder, "ampnode=3")
    assert done.code == 0, done
    assert get(port, "/")[0] in (200, 303)
    assert {each["state"] for each in one.status()["services"]} == {"ready"}
    assert one.stop().code == 0


@pytest.mark.parametrize("char", ["\n", "\t", "\x7f", "\udcff"])
def test_a_path_that_no_file_can_hold_is_refused_in_one_line(
    ampzero: Ampzero, tmp_path: Path, char: str
) -> None:
    folder, good = tmp_path / f"a{char}b", tmp_path / "good"
    for each in (folder, good):
        each.mkdir()
        (each / "amprun.yaml").write_text("services:\n  web: {command: sleep 600}\n")
    (folder / "Procfile").write_text("web: sleep 600\n")
    for done in (
        ampzero("run", folder, env={"AMPZERO_ROOT": str(tmp_path / "var")}),
        ampzero("run", "-f", folder / "Procfile", env={"AMPZERO_ROOT": str(tmp_path / "var")}),
        ampzero("init", "demo", "--yes", "--dir", folder, "--set", f"root={tmp_path}/var"),
        ampzero("run", good, env={"AMPZERO_ROOT": str(tmp_path / f"va{char}r")}),
    ):
        assert done.code not in (0, 1), done
        assert "Traceback" not in done.err
        assert done.err.count("\n") <= 2, "the error, and a hint"
    assert not (tmp_path / "var").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["Procfile", "amprun.yaml"]


def test_a_root_directory_with_a_new_line_is_refused_with_its_place(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    yaml = one.folder / "amprun.yaml"
    yaml.write_text('name: demo\namprun_root_directory: "/tmp/a\\nb"\nservices: {}\n')
    done = one.run()
    assert done.code == 4, done
    assert f"{yaml}:2:" in done.err and "amprun_root_directory: has a control character" in done.err
