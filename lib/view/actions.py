"""What the view can ask the supervisor to do: a key's command, the question before it, the words after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.errors import UsageError
from lib.view.model import EVERYTHING, Row


@dataclass(frozen=True)
class Action:
    """One request. `question` is asked first, if there is one; `doing` and `done` are said around it."""

    command: str
    arguments: dict[str, Any] = field(default_factory=dict)
    question: str = ""
    doing: str = ""
    done: str = ""


def start(row: Row) -> Action:
    """Start what the row stands for."""
    return Action("start", _named(row), doing=f"starting {_what(row)} …", done=f"{_what(row)} ready")


def stop(row: Row) -> Action:
    """Stop it; all services at once only after a question (the instance itself stays: that is Q)."""
    question = "Stop all services? The supervisor stays, and can start them again." if _all(row) else ""
    return Action(
        "stop", _named(row), question, f"stopping {_what(row)} …", f"{_what(row)} stopped"
    )  # fmt: skip


def restart(row: Row, *, rolling: bool = False) -> Action:
    """Stop and start it; `rolling`: one process after the other, each only when the one before is ready."""
    question = "Restart all services?" if _all(row) else ""
    arguments = {**_named(row), **({"rolling": True} if rolling else {})}
    how = ", one process at a time" if rolling else ""
    return Action(
        "restart", arguments, question, f"restarting {_what(row)}{how} …", f"{_what(row)} ready again"
    )


def scale(row: Row, processes: int) -> Action:
    """Have that many processes of the row's service."""
    count = "1 process" if processes == 1 else f"{processes} processes"
    return Action(
        "scale", {"service": row.service, "processes": processes}, doing=f"{row.service}: {count} …",
        done=f"{row.service}: {count}",
    )  # fmt: skip


def scale_by(row: Row, status: Mapping[str, Any], more: int) -> Action:
    """Have `more` processes than `status` says (or fewer).

    Raises: UsageError when the row is no service's, or none would be left.
    """
    found = [each for each in status["services"] if each["name"] == row.service]
    if not found:
        raise UsageError("select a service first")
    count = len(found[0]["processes"]) + more
    if count < 1:
        raise UsageError("one process is the least; x stops it")
    return scale(row, count)


def rolling(row: Row) -> Action:
    """Restart it one process after the other."""
    return restart(row, rolling=True)


ACTIONS: dict[str, Callable[[Row], Action]] = {
    "start": start, "stop": stop, "restart": restart, "rolling": rolling,
}  # fmt: skip
"""By the words that the keys use."""


def _named(row: Row) -> dict[str, Any]:
    return {"services": [] if _all(row) else [row.key]}


def _all(row: Row) -> bool:
    return row.key == EVERYTHING


def _what(row: Row) -> str:
    return "everything" if _all(row) else row.key
