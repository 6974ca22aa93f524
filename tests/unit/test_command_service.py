from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import https_probe
from lib.config import Config, Ready, ServiceConfig
from lib.errors import ConfigError, MissingError
from lib.instance import Instance
from lib.programs.known import known_hint
from lib.services.base import Context
from lib.services.command import Command, expand, http_target, make_probe, missing_hint, tcp_target
from lib.supervisor.spec import Probe, ProcessSpec


class Ports:
    """Honest in its way: what is wanted, or numbers from 20000 on, the same for the same key."""

    def __init__(self) -> None:
        self.given: dict[str, int] = {}

    def __call__(self, key: str, wanted: int) -> int:
        return self.given.setdefault(key, wanted or 20000 + len(self.given))


def make(folder: Path, **config: Any) -> Command:
    instance = Instance(
        name="demo", root=folder / "root", var_name="demo", directory=folder,
        config_file=folder / "amprun.yaml", config=Config(),
    )  # fmt: skip
    context = Context(instance=instance, port=Ports(), secret=Path, launcher=("ampzero",))
    return Command("web", msgspec.convert({"command": "sleep 1", **config}, ServiceConfig), context)


def only(service: Command, given: Mapping[str, str] | None = None) -> ProcessSpec:
    (process,) = service.processes(given or {})
    return process


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("sleep 1", ("sleep", "1")),
        ("sh -c 'echo \"a  b\"; true'", ("sh", "-c", 'echo "a  b"; true')),
        (["sh", "-c", "a b"], ("sh", "-c", "a b")),
        ("sleep $PORT ${LEVEL}", ("sleep", "$PORT", "info")),
        (["sleep", "x${LEVEL}y$LEVEL-$NONE"], ("sleep", "xinfoyinfo-$NONE")),
    ],
)
def test_argv(tmp_path: Path, command: object, argv: tuple[str, ...]) -> None:
    assert only(make(tmp_path, command=command), {"LEVEL": "info"}).argv == argv


def test_a_value_with_blanks_stays_one_word(tmp_path: Path) -> None:
    assert only(make(tmp_path, command="echo $TEXT"), {"TEXT": "a b; rm *"}).argv == ("echo", "a b; rm *")


def test_a_shell_gets_the_command_as_it_stands(tmp_path: Path) -> None:
    config = {"command": "no-such-thing $X && 'open", "shell": True}
    process = only(make(tmp_path, **config), {"X": "1"})
    assert process.argv == ("/bin/sh", "-c", "no-such-thing $X && 'open")


@pytest.mark.parametrize("command", ["sh -c 'open", "''", "   ", [""], ["sleep", "a\0b"]])
def test_a_command_that_is_none(tmp_path: Path, command: object) -> None:
    with pytest.raises(ConfigError, match=r"services\.web\.command"):
        make(tmp_path, command=command).processes({})


def test_each_process_has_a_port_of_its_own(tmp_path: Path) -> None:
    service = make(tmp_path, command="sleep $PORT", processes=3, port="auto")
    found = service.processes({})
    assert [process.ports for process in found] == [(20000,), (20001,), (20002,)]
    assert [process.env["PORT"] for process in found] == ["20000", "20001", "20002"]
    assert [process.argv[1] for process in found] == ["20000", "20001", "20002"]
    assert [process.name for process in found] == ["web.1", "web.2", "web.3"]
    assert service.processes({}) == found


def test_a_fixed_port_counts_up(tmp_path: Path) -> None:
    found = make(tmp_path, processes=2, port=8000).processes({})
    assert [process.ports for process in found] == [(8000,), (8001,)]


def test_no_port_is_no_port(tmp_path: Path) -> None:
    process = only(make(tmp_path), {"PORT": "1"})
    assert process.ports == ()
    assert "PORT" not in process.env
    assert process.ready is None


def test_a_port_is_probed_where_nothing_else_is_said(tmp_path: Path) -> None:
    assert only(make(tmp_path, port=8000)).ready == Probe(kind="tcp", target="localhost:8000")


def test_none_of_it(tmp_path: Path) -> None:
    assert make(tmp_path, processes=0).processes({}) == []


@pytest.mark.parametrize(
    ("ready", "probe"),
    [
        ({"tcp": 6379}, Probe(kind="tcp", target="localhost:6379")),
        ({"tcp": "::1:80"}, Probe(kind="tcp", target="::1:80")),
        ({"tcp": "unix:/a", "send": "P", "expect": "+"},
         Probe(kind="tcp", target="unix:/a", send="P", expect="+")),
        ({"http": "/x?y"}, Probe(kind="http", target="http://localhost:9/x?y")),
        ({"http": 80}, Probe(kind="http", target="http://localhost:80/")),
        (
            {"http": "https://h/x"},
            Probe(kind="exec", target="https://h/x", argv=(*https_probe.LAUNCHER, "https://h/x", "2")),
        ),
        ({"http": "http+unix:/s:/x"}, Probe(kind="http", target="http+unix:/s:/x")),
        ({"exec": "a | b"}, Probe(kind="exec", argv=("/bin/sh", "-c", "a | b"))),
        ({"exec": ["a", "b"]}, Probe(kind="exec", argv=("a", "b"))),
        ({"log": "up$"}, Probe(kind="log", target="up$")),
        ({"notify": True}, Probe(kind="notify")),
        ({"notify": True, "deadline": "2m"}, Probe(kind="notify", deadline=120.0)),
        ({"log": "x", "interval": "1s", "timeout": "500ms"},
         Probe(kind="log", target="x", interval=1, timeout=0.5)),
    ],
)  # fmt: skip
def test_probes(ready: dict[str, Any], probe: Probe) -> None:
    assert make_probe(msgspec.convert(ready, Ready), 9) == probe


@pytest.mark.parametrize(
    ("value", "target"), [(80, "localhost:80"), ("80", "localhost:80"), ("h:80", "h:80")]
)
def test_tcp_targets(value: int | str, target: str) -> None:
    assert tcp_target(value) == target


@pytest.mark.parametrize(
    ("value", "target"),
    [("x", "http://localhost:9/x"), ("80", "http://localhost:80/"), ("/", "http://localhost:9/")],
)
def test_http_targets(value: int | str, target: str) -> None:
    assert http_target(value, 9) == target


def test_a_path_without_a_port_to_ask(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a port"):
        make(tmp_path, ready={"http": "/healthz"}).processes({})
    assert only(make(tmp_path, ready={"http": 80})).ready is not None


def test_programs_are_found_as_exec_finds_them(tmp_path: Path) -> None:
    script = tmp_path / "app.sh"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(MissingError, match=r"no program './app.sh'") as caught:
        make(tmp_path, command="./app.sh").processes({})
    assert "chmod +x" in caught.value.hint
    script.chmod(0o755)
    assert only(make(tmp_path, command="./app.sh")).argv == ("./app.sh",)
    with pytest.raises(MissingError) as caught:
        make(tmp_path, command="app.sh").processes({})
    assert caught.value.hint.endswith("./app.sh")
    assert only(make(tmp_path, command="app.sh"), {"PATH": str(tmp_path)}).argv == ("app.sh",)
    with pytest.raises(MissingError):
        make(tmp_path, command="sleep 1").processes({"PATH": str(tmp_path)})
    assert only(make(tmp_path, command=[sys.executable])).argv == (sys.executable,)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"services\.web\.cwd"):
        make(tmp_path, cwd="nowhere").processes({})
    (tmp_path / "sub").mkdir()
    assert only(make(tmp_path, cwd="sub")).cwd == str(tmp_path / "sub")


def test_what_installs_a_known_program(tmp_path: Path) -> None:
    assert "redis" in missing_hint("redis-server", tmp_path, known_hint)


@given(
    word=st.text(), env=st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(), max_size=3)
)
def test_expand_leaves_unknown_names_alone(word: str, env: dict[str, str]) -> None:
    assert expand(word, {}) == word
    if "$" not in word:
        assert expand(word, env) == word
    for name, value in env.items():
        assert expand(f"${{{name}}}", env) == value
        assert expand(f"a${name}-", env) == f"a{value}-"
