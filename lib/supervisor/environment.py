"""What every child finds in its environment besides its own variables."""

from __future__ import annotations

from collections.abc import Mapping

from lib.supervisor.spec import Plan

NEVER_INHERITED = frozenset(
    {"PYTHONPATH", "PYTHONHOME", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "PORT"}
)
"""Variables of our own start that mean something else, or harm, in a child."""


def clean_environment(environment: Mapping[str, str], plan: Plan) -> dict[str, str]:
    """What every child of `plan` gets: our own variables less the harmful, and the instance's."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in NEVER_INHERITED and not name.startswith("AMPZERO_")
    }
    return {
        "PYTHONUNBUFFERED": "1", **kept, "AMPZERO_INSTANCE": plan.name, "AMPZERO_DIRECTORY": plan.directory,
        "AMPZERO_VAR": plan.var, "AMPZERO_CONTROL": f"{plan.sockets}/control.sock",
        "AMPZERO_EVENTS": f"{plan.sockets}/events.sock", **({"AMPZERO_DEBUG": "1"} if plan.debug else {}),
    }  # fmt: skip
