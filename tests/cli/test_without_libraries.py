"""A clone without its libraries says so in one line; with them, the help loads hardly anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import Ampzero

import lib

SCRIPT = Path(lib.__file__).resolve().parent.parent / "ampzero.py"
NOT_FOR_HELP = {"rich", "zmq", "yaml", "cryptography", "jinja2", "msgspec", "starlette", "redis", "asyncio"}


@pytest.mark.parametrize("arguments", [(), ("--help",), ("run", "kickass")])
def test_a_clone_without_its_libraries_names_the_command_that_installs_them(
    arguments: tuple[str, ...],
) -> None:
    # -S leaves site-packages out, -I what the user has of his own: a Python as it came.
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 5
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error == "ampzero: error: the Python library 'click' is not installed"
    ours = SCRIPT.parent / ".venv/bin/ampzero"
    if ours.exists():
        assert hint == f"hint: they are in .venv: {ours}"
    else:
        venv = SCRIPT.parent / ".venv"
        assert hint == f"hint: {sys.executable} -m venv {venv} && {venv}/bin/pip install -e {SCRIPT.parent}"


def test_the_help_loads_no_heavy_library() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, "--help"], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & NOT_FOR_HELP


def test_version_and_usage(ampzero: Ampzero) -> None:
    assert ampzero("--version").out.startswith("ampzero 0.")
    wrong = ampzero("explode")
    assert wrong.code == 2
    assert wrong.err.startswith("ampzero: error: No such command 'explode'")
    assert wrong.err.splitlines()[1] == "hint: see: ampzero --help"
    assert "Did you mean 'status'?" in ampzero("statu").err


def test_no_command_at_all_is_answered_by_the_help(ampzero: Ampzero) -> None:
    for words in ((), ("keyspace",)):
        alone = ampzero(*words)
        assert alone.code == 2
        assert alone.err.startswith("Usage: ampzero")
        assert "error" not in alone.err
