"""Results as lines for a person, or as JSON."""

from __future__ import annotations

from typing import Any


def show(as_json: bool, fields: Any, lines: list[str]) -> int:
    """Print `fields` as JSON, or `lines`; the exit code 0."""
    import lib.console as console

    if as_json:
        import json

        console.out(json.dumps(fields, indent=2))
    else:
        for line in lines:
            console.out(line)
    return 0
