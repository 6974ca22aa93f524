"""Tab in real shells; what is offered; that it loads little."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Ampzero
from terminal_support import terminal

CONFIG = """
name: demo
services:
  web: {command: sleep 100, processes: 2}
  worker: {command: sleep 100}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in which the instance `demonstration` is."""
    (tmp_path / "demonstration").mkdir()
    (tmp_path / "demonstration/amprun.yaml").write_text(CONFIG)
    (tmp_path / "no-instance").mkdir()
    return tmp_path


def offered(place: Path, line: str) -> list[str]:
    """What bash would offer at the end of `line`."""
    words = line.split()
    number = len(words) if line.endswith(" ") else len(words) - 1
    done = subprocess.run(
        [Ampzero().path], cwd=place, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(number),
             "_AMPZERO_COMPLETE": "bash_complete"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [each.partition(",")[2] for each in done.stdout.splitlines() if each]


@pytest.mark.parametrize(("line", "expected"), [
    ("ampzero comp", ["completion"]),
    ("ampzero completion ", ["bash", "zsh", "fish"]),
    ("ampzero run demon", ["demonstration"]),
    ("ampzero run no-", []),
    ("ampzero run demonstration st", ["status", "stop", "start"]),
    ("ampzero run demonstration logs w", ["web", "web.1", "web.2", "worker"]),
    ("ampzero restart demonstration wo", ["worker"]),
    ("ampzero restart demonstration worker wo", []),
    ("ampzero logs demonstration --str", ["--stream"]),
    ("ampzero logs demonstration --stream e", ["err"]),
    ("ampzero restart nothing ", []),
    ("ampzero keys rot", ["rotate"]),
    ("ampzero keys rotate demon", ["demonstration"]),
    ("ampzero keys rotate demonstration ", ["user", "host"]),
])  # fmt: skip
def test_what_is_offered(place: Path, line: str, expected: list[str]) -> None:
    assert offered(place, line) == expected


def test_the_instance_of_this_folder_is_a_dot(place: Path) -> None:
    assert "." in offered(place / "demonstration", "ampzero status ")
    assert offered(place / "demonstration", "ampzero restart . we") == ["web", "web.1", "web.2"]


def test_a_procfile_gives_its_services(place: Path) -> None:
    (place / "Procfile").write_text("web: sleep 100\nclock: sleep 100\n")
    assert offered(place, "ampzero stop -f Procfile cl") == ["clock"]


@pytest.mark.parametrize("content", ["", "services: [", "services: 3", "- 1", "\x00", "services: {web: 1}"])
def test_a_bad_file_offers_nothing_and_says_nothing(place: Path, content: str) -> None:
    (place / "demonstration/amprun.yaml").write_text(content)
    assert offered(place, "ampzero stop demonstration x") == []


def test_who_presses_tab_waits_for_no_library_that_is_not_needed(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", Ampzero().path], cwd=place, capture_output=True, text=True,
        timeout=60, env={**os.environ, "COMP_WORDS": "ampzero restart demonstration w", "COMP_CWORD": "3",
                         "_AMPZERO_COMPLETE": "bash_complete"},
    )  # fmt: skip
    assert "web.2" in done.stdout and "worker" in done.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & {
        "asyncio",
        "cryptography",
        "zmq",
        "rich",
        "textual",
        "uvicorn",
        "starlette",
        "jinja2",
        "paramiko",
    }


SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SOURCE = {
    "bash": 'source <(ampzero completion bash); PS1="READY> "',
    "zsh": "autoload -Uz compinit; compinit -u -D; source <(ampzero completion zsh); PS1='READY> '",
    "fish": "ampzero completion fish | source; function fish_prompt; echo 'READY> '; end",
}


@pytest.mark.parametrize("shell", list(SHELLS))
def test_tab_in_a_real_shell(place: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    with terminal(place, SHELLS[shell], width=120) as shown:
        shown.type(SOURCE[shell])
        shown.keys("Enter")
        shown.until("READY> ")
        shown.keys("C-l")
        shown.type("ampzero restart demons")
        shown.keys("Tab")
        shown.until("ampzero restart demonstration")
        shown.type("wor")
        shown.keys("Tab")
        shown.until("ampzero restart demonstration worker")
        shown.type("--fi")
        shown.keys("Tab")
        shown.until("ampzero restart demonstration worker --file")


def test_the_help_says_how_to_install_it(ampzero: Ampzero) -> None:
    done = ampzero("completion", "--help")
    assert done.code == 0
    assert all(f"ampzero completion {shell} >" in done.out for shell in SHELLS)
    assert ampzero("completion", "tcsh").code == 2
