"""The template's amprun.yaml is the reference: every key is in it, and its examples are true."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from lib import config as types
from lib import loader, template
from lib.config import Config, Section
from lib.init import scaffold
from lib.init.answers import Answers, FromService
from lib.kinds import KINDS

SECTIONS = [
    kind
    for kind in vars(types).values()
    if isinstance(kind, type) and issubclass(kind, Section) and kind is not Section
]
SOURCE = (scaffold.TEMPLATE / "amprun.yaml.j2").read_text()


def rendered(**changes: object) -> str:
    answers = Answers(name="kickass", root="/opt/ampzero/var", user="me", **changes)  # type: ignore[arg-type]  # a test's shorthand
    return template.render_string(SOURCE, msgspec.structs.asdict(answers), "amprun.yaml.j2")


def uncommented(text: str) -> str:
    """`text` with the examples in it made real: lines whose # is followed by a key at once."""
    lines = []
    for line in text.splitlines():
        example = re.fullmatch(r"( *)#( *(?:[a-z_]+:|- ).*)", line)
        is_prose = re.match(r" *# +[A-Za-z&]", line) and not re.match(r"(  |)#  +[a-z_]+:", line)
        lines.append(line if not example or is_prose else example[1] + example[2])
    return "\n".join(lines)


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "amprun.yaml"
    path.write_text(text)
    return loader.load_config(path)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_documented(section: type[Section]) -> None:
    for key in section.__struct_fields__:
        assert re.search(rf"(^|[ #{{]){key}:", SOURCE, re.MULTILINE), f"{section.__name__}.{key}"


def test_what_init_writes_loads(tmp_path: Path) -> None:
    config = load(tmp_path, rendered())
    assert config.name == "kickass"
    assert config.port == 8040
    assert list(config.services) == list(KINDS)
    assert config.services["ampnode"].processes == 2


def test_the_examples_load_when_uncommented(tmp_path: Path) -> None:
    config = load(tmp_path, uncommented(rendered()))
    worker = config.services["worker"]
    assert config.logs == types.Logs()
    assert worker.restart == types.Restart(initial="0s", max="30s", reset_after="10s",
                                           give_up=types.GiveUp(within="60s"))  # fmt: skip
    assert worker.ready is not None
    assert (worker.ready.tcp, worker.ready.send, worker.ready.expect) == (5000, "PING\r\n", "+PONG")
    assert worker.live is not None
    assert (worker.live.exec, worker.live.failures) == (["python", "alive.py"], types.Live().failures)
    assert (worker.listen, worker.pty) == ("unix:run/worker.sock", False)
    assert (worker.limits.memory, worker.limits.umask) == ("1G", "022")
    assert config.services["nightly"].schedule == "30 4 * * *"
    assert (config.on_crash, config.metrics) == ("adopt", 9100)
    assert worker.stop == types.Stop(timeout="10s")
    assert worker.depends_on == {"redis": "ready"}
    assert worker.env_file == ".env"


def test_the_defaults_that_it_names_are_the_defaults() -> None:
    from lib.duration import seconds

    restart = types.Restart()
    assert (restart.initial, restart.max, restart.reset_after) == (0, 30, 10)
    assert (restart.give_up.times, restart.give_up.within) == (10, 60)
    live, ready = types.Live(), types.Ready()
    assert (ready.period, ready.failures) == (live.period, live.failures) == (seconds("10s"), 3)
    assert live.timeout == seconds("2s")
    assert (ready.interval, ready.timeout, ready.deadline) == (seconds("250ms"), 2, 30)


def test_services_of_a_procfile(tmp_path: Path) -> None:
    command = "say \"a: b\" 'c' # d \\ {{ e }} \u2028\x7f é"
    services = (
        FromService("web", {"command": command, "shell": True, "cwd": "..", "env_file": "../.env"}),
        FromService(
            "redis", {"kind": "command", "command": ["redis-server"], "env": {"A": "no", "B b": "1"}}
        ),
    )
    made = load(tmp_path, rendered(services=services)).services
    assert list(made) == ["web", "redis"]
    assert made["web"].command == command
    assert made["web"].shell is True
    assert made["web"].env_file == "../.env"
    assert made["redis"].kind == "command"
    assert made["redis"].env == {"A": "no", "B b": "1"}
