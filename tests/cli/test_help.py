"""Every command's help shows how it is used; the manual page holds all of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Ampzero

import ampzero as tool

ROOT = Path(tool.__file__).resolve().parent
COMMANDS = [name for name in tool.COMMANDS if (ROOT / "lib/commands" / f"{name}.py").exists()]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_has_examples_of_this_command(ampzero: Ampzero, name: str) -> None:
    done = ampzero(name, "--help")
    assert done.code == 0, done
    _, found, examples = done.out.partition("  Examples")
    assert found, f"ampzero {name} --help has no examples"
    assert re.search(rf"^ {{4}}\S.*ampzero {name}\b|^ {{4}}ampzero {name}\b", examples, re.MULTILINE)


def test_the_options_of_the_examples_are_there(ampzero: Ampzero) -> None:
    # What follows `run NAME` are the words, and the options, of other commands.
    for name in set(COMMANDS) - {"run"}:
        shown = ampzero(name, "--help").out
        for line in re.findall(rf"^ {{4}}ampzero {name} .*", shown, re.MULTILINE):
            for option in re.findall(r"(?<= )--[a-z-]+", line.partition("   #")[0]):
                assert option in shown.partition("Options:")[2], f"{line.strip()}: no option {option}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("man") / "ampzero.1"
    subprocess.run([sys.executable, ROOT / "scripts/manpage", made], check=True, timeout=60)
    return made


def test_the_manual_page_has_every_command(page: Path) -> None:
    text = page.read_text()
    for name in COMMANDS:
        assert f".SS ampzero {name}" in text
    assert "EXIT STATUS" in text


def test_the_manual_page_is_without_mistakes(page: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", "-K", "utf8", page],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
