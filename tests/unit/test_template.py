from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import template, yamlfile
from lib.errors import ConfigError
from lib.template import render_string, render_tree


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a\n{{ missing }}\n", "n:2: 'missing' is undefined", "known here: name, port"),
        ("{{ name.nothing }}", "n:1: 'str object' has no attribute 'nothing'", "known here: name, port"),
        ("a\nb\n{% if %}", "n:3: Expected an expression, got 'end of statement block'", ""),
        ("\n{{ 1 / 0 }}", "n:2: ZeroDivisionError: division by zero", ""),
    ],
)
def test_errors_name_the_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render_string(text, {"port": 1, "name": "x"}, "n")
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% include '/x' %}",
        "{{ name.__init__.__globals__ }}",
    ],
)
def test_a_template_reaches_nothing_but_its_values(text: str) -> None:
    with pytest.raises(ConfigError):
        render_string(text, {"name": "x"}, "n")


@given(st.text())
def test_any_template_renders_or_is_our_error(text: str) -> None:
    try:
        render_string(text, {}, "n")
    except ConfigError as caught:
        assert caught.message.startswith("n:")


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_quoted_text_is_read_back_by_yaml(text: str) -> None:
    document = yamlfile.parse(f"a: {template.quoted(text)}".encode(), "f")
    assert document.plain() == {"a": text}


def test_a_tree(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub/__pycache__").mkdir(parents=True)
    (source / "sub/a.conf.j2").write_text("{% if port %}\nport {{ port }}\n{% endif %}\nend\n")
    (source / "sub/b.conf").write_text("{{ not rendered }}")
    (source / "sub/__pycache__/c.pyc").write_bytes(b"x")
    (source / "gitignore.j2").write_text("*.key\n")
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o755)
    assert sorted(render_tree(source, target, {"port": 1})) == [
        ".gitignore",
        "run",
        "sub/a.conf",
        "sub/b.conf",
    ]
    assert (target / "sub/a.conf").read_text() == "port 1\nend\n"
    assert (target / "sub/b.conf").read_text() == "{{ not rendered }}"
    assert (target / "run").stat().st_mode & 0o777 == 0o755
    assert (target / ".gitignore").read_text() == "*.key\n"
    assert {path.name for path in target.iterdir()} == {"sub", "run", ".gitignore"}


def test_an_error_in_a_tree_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/x.j2").write_text("{{ y }}")
    with pytest.raises(ConfigError, match=r"source/x\.j2:1: 'y' is undefined"):
        render_tree(tmp_path / "source", tmp_path / "target", {})
