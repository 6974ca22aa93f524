"""The user's crontab: one @reboot line of ours in it."""

from __future__ import annotations

import shlex
import shutil

from lib.boot.base import run
from lib.errors import ConfigError
from lib.root import is_writable_text


def available() -> bool:
    """Whether this host has a crontab."""
    return shutil.which("crontab") is not None


def line(argv: list[str], mark: str, path: str) -> str:
    """The line that runs `argv` at boot; crontab(5): a `%` must be escaped. `mark` makes it ours.

    Raises: ConfigError for what a line cannot hold.
    """
    command = f"PATH={shlex.quote(path)} {shlex.join(argv)} >/dev/null 2>&1 # {mark}"
    if not is_writable_text(command):
        raise ConfigError(
            f"no line of a crontab: {command!a}",
            "rename what has a new line in its name, or take it off PATH",
        )
    return "@reboot " + _escaped(command)


def read() -> list[str]:
    """The lines of the user's crontab; none where there is none. Raises: AmpzeroError."""
    return run("crontab", "-l", good=(0, 1)).splitlines()


def has(mark: str) -> bool:
    """Whether our line is there."""
    return available() and any(each.endswith(f"# {_escaped(mark)}") for each in read())


def set_line(mark: str, new: str | None) -> bool:
    """Replace our line by `new`, or remove it; whether anything changed. Raises: AmpzeroError."""
    before = read()
    after = [each for each in before if not each.endswith(f"# {_escaped(mark)}")]
    if new is not None:
        after.append(new)
    if after != before:
        run("crontab", "-", stdin="".join(f"{each}\n" for each in after))
    return after != before


def _escaped(text: str) -> str:
    return text.replace("%", "\\%")
