from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import yamlfile
from lib.config import Config
from lib.errors import ConfigError
from lib.loader import EMPTY, VERBATIM


def config(text: str | bytes) -> Config:
    raw = text.encode() if isinstance(text, str) else text
    return yamlfile.parse(raw, "f").convert(Config, VERBATIM, EMPTY)


def error(text: str | bytes) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        config(text)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("servces: {}", "f:1:1: servces: unknown key", "did you mean 'services'?"),
        ("services:\n  b: {}\n  a:\n    por: x",
         "f:4:5: services.a.por: unknown key", "did you mean 'port'?"),
        ("services: {a: {port: x}}", "f:1:22: services.a.port: must be a whole number or auto, not 'x'", ""),
        ("port: 70000", "f:1:7: port: must be at most 65535", ""),
        ("port: '80'", "f:1:7: port: must be a whole number, not text", ""),
        ("port: 1:30", "f:1:7: port: must be a whole number, not text", ""),
        ("name: XX", "f:1:7: name: must match ^[a-z][a-z0-9_-]{0,31}$", ""),
        ("name: 010", "f:1:7: name: must be text, not a whole number", 'put it in quotes: "010"'),
        ("services: {a: {shell: yes}}", "f:1:23: services.a.shell: must be true or false, not text",
         "write true"),
        ("services: {b: {}, a: {restart: {policy: alway}}}",
         "f:1:41: services.a.restart.policy: must be always, never or on-failure, not 'alway'",
         "did you mean 'always'?"),
        ("services: {a: {command: [x, 1]}}",
         "f:1:29: services.a.command[1]: must be text, not a whole number", 'put it in quotes: "1"'),
        ("services: {z: {}, a: {env: {B: x, K: }}}",
         "f:1:38: services.a.env.K: must be true or false, a whole number, a number or text, not nothing",
         ""),
        ("a: 1\na: 2", "f:2:1: 'a' stands twice in the same mapping, first in line 1", ""),
        ("a:\n\t- b", "f:2:1: not YAML: found character that cannot start any token",
         "indent with spaces, not with tabs"),
        ("- a", "f:1:1: must be a mapping, not a list", ""),
        ("a: *b", "f:1:4: *b is not defined above", ""),
        ("a: &a [*a]", "f:1:8: *a contains itself", ""),
        ("? [a]\n: b", "f:1:3: a key must be plain text", ""),
        ("---\na: 1\n---\nb: 2", "f:3:1: a second document begins here; there may be only one", ""),
        ("[" * 60, "f:1:52: nested deeper than 50 levels", ""),
        (b"port: 1\nname: \xff", "f:2:7: the file is not UTF-8", ""),
    ],
)  # fmt: skip
def test_errors_say_where_and_what(text: str | bytes, message: str, hint: str) -> None:
    assert error(text) == (message, hint)


@pytest.mark.parametrize(
    "text", ["a: !!python/object:os.system x", "!x {}", 'a: "\\0"', "a: .inf", "{", "\0", "@"]
)
def test_refused(text: str) -> None:
    assert error(text)[0].startswith(("f:1:", "f:2:1:"))


@pytest.mark.parametrize(
    "key", ["\\e[31m", "a\\nb", "x` - at `$.services[...]", "x` - at `$.port[...].y", "`"]
)
def test_a_strange_key_is_shown_tamely(key: str) -> None:
    message, _ = error(f'port: 1\n"{key}": 1')
    assert message.startswith("f:")
    assert message.isprintable()


def test_values_of_the_environment_stay_as_written() -> None:
    text = (
        "services: {a: {command: x, env: {V: 1.10, N: no, O: 010, T: true, H: 0x10, Q: 'q', D: 2026-01-01}}}"
    )
    assert config(text).services["a"].env == {
        "V": "1.10", "N": "no", "O": "010", "T": "true", "H": "0x10", "Q": "q", "D": "2026-01-01",
    }  # fmt: skip


def test_a_key_without_value_is_an_empty_mapping_where_one_belongs() -> None:
    assert config("services:\n  redis:\n").services["redis"].processes == 1
    assert config("services:").services == {}
    assert config("").port == 8040
    assert config("# only a comment\n").port == 8040


def test_merge_keys_and_aliases() -> None:
    text = "services:\n  a: &a {command: x, processes: 2}\n  b: {<<: *a, command: y}\n  c: *a\n"
    services = config(text).services
    assert (services["b"].command, services["b"].processes) == ("y", 2)
    assert services["c"] == services["a"]


def test_billion_laughs_are_refused_at_once() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 12):
        text += f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 10) + "]\n"
    assert "more than 100000 values" in error(text)[0]  # the test would else never end


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "amprun.yaml"
    path.write_bytes(b"#" * (yamlfile.LARGEST_FILE + 1))
    with pytest.raises(ConfigError, match="larger than"):
        yamlfile.load(path, Config)


def test_fifty_services_load_in_a_few_milliseconds() -> None:
    text = "services:\n" + "".join(
        f"  s{i}:\n    command: sleep 1000\n    env: {{A: b}}\n    restart: {{initial: 0s}}\n"
        for i in range(50)
    )
    config(text)
    best = min(_timed(text) for _ in range(5))
    assert best < 0.05, best  # of the processor; 1 to 2 ms on an idle machine


def _timed(text: str) -> float:
    began = time.process_time()
    config(text)
    return time.process_time() - began


def test_with_the_parser_in_python_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert config("services: {a: {command: [x]}}").services["a"].command == ["x"]
    assert error("servces: {}")[0] == "f:1:1: servces: unknown key"
    for text in ("{", "\0", "@", "a: *b", "a:\n\t- b"):
        assert error(text)[0].startswith("f:")


WORDS = st.sampled_from(
    ["services", "name", "port", "command", "env", "ready", "tcp", ":", ": ", "\n", "\n  ", "\n    ", "- ",
     "{", "}", "[", "]", ",", "&a ", "*a", "<<", "!", "!!", "?", "|", ">", "'", '"', "#", "%", "---", "...",
     "\t", "1", "no", "~", "auto", "0x1f", "1e999", "\ufeff", "\u2028", "\x85", "\x1b"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(WORDS, max_size=40).map("".join) | st.text())
def test_any_text_gives_a_config_or_our_error(text: str) -> None:
    try:
        config(text.encode(errors="surrogatepass"))
    except ConfigError as caught:
        assert caught.message.startswith("f:")


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_config_or_our_error(raw: bytes) -> None:
    try:
        config(raw)
    except ConfigError as caught:
        assert caught.message.startswith("f:")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["services", "a", "b", "ready", "restart", "port", "env", "depends_on", "logs"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(JSON)
def test_wrong_types_anywhere_are_placed(data: object) -> None:
    import json

    try:
        config(json.dumps(data, ensure_ascii=False).encode(errors="surrogatepass"))
    except ConfigError as caught:
        assert caught.message.startswith("f:1:")
