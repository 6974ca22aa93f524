from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from lib.errors import ConfigError
from lib.node.config import AmpnodeConfig, ConsoleConfig, ModuleConfig, load_config

TEMPLATE = Path(__file__).parents[2] / "instance_template/ampnode"


def keys(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def test_the_template_documents_every_key_and_shows_the_defaults() -> None:
    text = (TEMPLATE / "ampnode.yaml").read_text()
    data = yaml.safe_load(text)
    assert set(data) == keys(AmpnodeConfig)
    assert set(data["console"]) == keys(ConsoleConfig)
    assert set(data["modules"]["hello"]) == keys(ModuleConfig)
    config = load_config(TEMPLATE / "ampnode.yaml")
    assert config.console == ConsoleConfig()
    assert config.workers == AmpnodeConfig().workers and config.settings == AmpnodeConfig().settings
    lines = text.splitlines()
    for number, line in enumerate(lines):
        key = line.strip().partition(":")[0]
        if (
            ":" in line
            and not line.strip().startswith("#")
            and key in keys(AmpnodeConfig) | keys(ConsoleConfig)
        ):
            assert lines[number - 1].strip().startswith("#"), f"no comment above {key}"


def test_every_module_of_the_template_is_there() -> None:
    for name in load_config(TEMPLATE / "ampnode.yaml").modules:
        assert (TEMPLATE / "services" / f"{name}.py").is_file()


def test_a_folder_without_the_file_has_the_defaults(tmp_path: Path) -> None:
    assert load_config(tmp_path / "ampnode.yaml") == AmpnodeConfig()


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("modules:\n  a:\n    path: /x\n  b: {path: /x/}\n", ":4:13: modules.b.path", "the module a"),
        ("modules: {a: {path: /}}\n", "modules.a.path", "the console"),
        ("modules: {a: {path: /login}}\n", "modules.a.path", "the runtime itself"),
        ("modules: {a: {path: /_ampzero/x}}\n", "modules.a.path", "the runtime itself"),
        ("console: {path: /login/}\n", "console.path", "the runtime itself"),
        ("modules: {a: {path: x}}\n", ":1:21: modules.a.path", ""),
        ("modules: {../a: {}}\n", ":1:11: modules", "Python name"),
        ("modules: {a: {paths: /x}}\n", "modules.a.paths", "unknown key"),
        ("workers: 0\n", ":1:10: workers", ""),
        ("console: {session: soon}\n", ":1:20: console.session", "duration"),
        ("console: {session: 0s}\n", ":1:20: console.session", ""),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = tmp_path / "ampnode.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert error.value.message.startswith(str(path))
    assert where in error.value.message and what in error.value.message


def test_a_module_without_options_may_be_written_bare(tmp_path: Path) -> None:
    path = tmp_path / "ampnode.yaml"
    path.write_text("modules:\n  hello:\n  shop: {path: /}\nconsole: {path: /console}\n")
    assert load_config(path).paths() == {"hello": "/hello", "shop": ""}
