"""All output of a command to its user.

The rules: results go to stdout, so that they can be piped; everything said about the work (progress,
hints, errors) goes to stderr. Colour only on a terminal and without NO_COLOR. One fact a line.
Owns no wording: callers say what, this module says where and how.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

COLOURS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "dim": "2",
}


def coloured(stream: TextIO) -> bool:
    """Whether `stream` shows colours: a terminal, not a dumb one, and NO_COLOR unset (no-color.org)."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in `colour` (a key of COLOURS) when `stream` (default stdout) shows colours."""
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if coloured(stream or sys.stdout) else text


def out(text: str = "") -> None:
    """Print a result line to stdout."""
    sys.stdout.write(text + "\n")


def say(text: str = "") -> None:
    """Print a line about the work to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def warn(text: str, hint: str = "") -> None:
    """Print a warning, and its hint, to stderr."""
    say(f"{paint('ampzero: warning:', 'yellow', sys.stderr)} {text}")
    if hint:
        say(f"hint: {hint}")


def error(text: str, hint: str = "") -> None:
    """Print an error as one line, and its hint as another, to stderr."""
    say(f"{paint('ampzero: error:', 'red', sys.stderr)} {' '.join(text.split())}")
    if hint:
        say(f"hint: {hint}")
