"""The questions of `ampzero init`, on a real terminal (a pty)."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import NOBODY, Ampzero, as_user, wait_for


class Terminal:
    """A command on a pty: wait for its words, then type."""

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            argv, cwd=cwd, env={**os.environ, **env}, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.text = ""
        self.seen = 0

    def expect(self, words: str, seconds: float = 30) -> None:
        """Wait until `words` come after what was expected before."""
        deadline = time.monotonic() + seconds
        while words not in self.text[self.seen :]:
            assert time.monotonic() < deadline and self._read(), f"no {words!r} in {self.text!r}"
        self.seen = self.text.index(words, self.seen) + len(words)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def answer(self, words: str, text: str = "") -> None:
        self.expect(words)
        self.type(text + "\n")

    def end(self, seconds: float = 30) -> int:
        """The exit code, with all output read."""
        deadline = time.monotonic() + seconds
        while self._read() and time.monotonic() < deadline:
            pass
        return self.process.wait(60)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], 1.0)
        if not ready:
            return True
        try:
            raw = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += raw.decode(errors="replace").replace("\r\n", "\n")
        return bool(raw)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def start(terminals: list[Terminal], ampzero: Ampzero, cwd: Path, *arguments: str,
          env: dict[str, str] | None = None) -> Terminal:  # fmt: skip
    terminal = Terminal(
        [*ampzero.before, ampzero.path, "init", *arguments], cwd, {"TERM": "dumb", **(env or {})}
    )
    terminals.append(terminal)
    return terminal


def test_enter_takes_the_defaults(terminals: list[Terminal], ampzero: Ampzero, tmp_path: Path) -> None:
    terminal = start(terminals, ampzero, tmp_path, "app", "--set", f"root={tmp_path}/var", "--dir", ".")
    for words in ("port [8040]: ", "hub [local]: ", "user name [", "passphrase"):
        terminal.answer(words)
    assert terminal.end() == 0, terminal.text
    assert "port: 8040" in (tmp_path / "app/amprun.yaml").read_text()
    assert "no passphrase" in terminal.text


def test_every_answer(terminals: list[Terminal], ampzero: Ampzero, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    terminal = start(terminals, ampzero, tmp_path, "app")
    terminal.answer("place (the folder to make it in)", f"{tmp_path}/place")
    terminal.answer("port [8040]: ", "99999")
    terminal.expect("'99999' is not a port")
    terminal.answer("port [8040]: ", "9443")
    terminal.answer("root directory", f"{tmp_path}/var")
    terminal.answer("hub [local]: ", "hub.example.org")
    terminal.answer("hub [local]: ", "local")
    terminal.answer("user name", "Ann")
    terminal.answer("passphrase", "one two three")
    terminal.answer("again", "something else")
    terminal.expect("not the same")
    terminal.answer("passphrase", "one two three")
    terminal.answer("again", "one two three")
    assert terminal.end() == 0, terminal.text
    folder = tmp_path / "place/app"
    assert "port: 9443" in (folder / "amprun.yaml").read_text()
    assert "encrypted with your passphrase" in terminal.text
    assert "one two three" not in terminal.text
    author = subprocess.run(["git", "log", "-1", "--format=%an"], cwd=folder, capture_output=True, check=True)
    assert author.stdout == b"Ann\n"


def test_ctrl_c_changes_nothing(terminals: list[Terminal], tmp_path: Path) -> None:
    # pytest-xdist's workers ignore SIGINT, and what they start would too.
    heeds = Ampzero(("env", "--default-signal=INT"))
    terminal = start(terminals, heeds, tmp_path, "app", "--dir", ".")
    terminal.expect("port [8040]: ")

    # Again, as one that comes just before the read begins only marks the interpreter, which then waits.
    def ended() -> bool:
        terminal.process.send_signal(signal.SIGINT)
        return terminal.process.poll() is not None

    assert wait_for(ended, step=0.3)
    assert terminal.end() == 130, terminal.text
    assert "Traceback" not in terminal.text
    assert list(tmp_path.iterdir()) == []


def test_no_questions_with_yes(terminals: list[Terminal], ampzero: Ampzero, tmp_path: Path) -> None:
    terminal = start(
        terminals, ampzero, tmp_path, "app", "--yes", "--dir", ".", "--set", f"root={tmp_path}/var"
    )
    assert terminal.end() == 0, terminal.text
    assert "[8040]" not in terminal.text


@pytest.fixture
def someone() -> Ampzero:
    """The command as that user runs it."""
    return Ampzero(as_user())


@pytest.fixture
def other_user() -> Iterator[Path]:
    """A folder of the user nobody, whose home is in it."""
    folder = Path("/tmp") / f"ampzero-test-{os.getpid()}-{time.monotonic_ns()}"  # noqa: S108 -- pytest's own is closed to others
    folder.mkdir(mode=0o755)
    (folder / "home").mkdir()
    os.chown(folder / "home", NOBODY, NOBODY)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def sudo(folder: Path, script: str) -> dict[str, str]:
    """The environment of a user whose `sudo` is a script: a real one would change this machine."""
    home = str(folder / "home")
    path = folder / "bin/sudo"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    where = f"{path.parent}:{os.environ['PATH']}"
    return {"HOME": home, "XDG_DATA_HOME": f"{home}/data", "XDG_STATE_HOME": f"{home}/state", "PATH": where}


def test_a_root_directory_that_needs_sudo(
    terminals: list[Terminal], someone: Ampzero, other_user: Path
) -> None:
    root = other_user / "closed/var"
    asked = other_user / "home/asked"
    env = sudo(other_user, f'echo "$@" >> {asked}; exit 1')
    terminal = start(terminals, someone, other_user, "app", "--dir", str(other_user / "home"), env=env)
    terminal.answer("port")
    terminal.answer("root directory", str(root))
    terminal.answer("hub")
    terminal.answer("user name")
    terminal.answer("with sudo? [Y/n]: ")
    terminal.answer("passphrase")
    assert terminal.end() == 0, terminal.text
    assert asked.read_text() == f"mkdir -p -- {root}\n"
    # It could not: a folder of the user's own is taken, and stands in the file.
    made = (other_user / "home/app/amprun.yaml").read_text()
    assert 'amprun_root_directory: "~/state/ampzero"' in made
    assert (other_user / "home/state/ampzero").is_dir()


def test_sudo_is_never_used_unasked(someone: Ampzero, other_user: Path) -> None:
    env = sudo(other_user, f"touch {other_user}/home/asked")
    done = someone("init", "app", "--yes", "--dir", other_user / "home", env=env, cwd=Path("/"))
    assert done.code == 0, done.err
    assert not (other_user / "home/asked").exists()
