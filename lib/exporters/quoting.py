"""Text into the files of others, so that they read back what was meant."""

from __future__ import annotations

import shlex


def unit_word(text: str) -> str:
    """One argument of a unit's command line: systemd.service(5), "Command lines"."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    # A lone `;` would part two commands.
    return f'"{escaped}"' if not text or any(c in text for c in " '\"\\\n\t\r;") else escaped


def unit_path(text: str) -> str:
    """A path as the value of a unit's key: only specifiers have to be escaped."""
    return text.replace("%", "%%")


def unit_paths(paths: list[str]) -> str:
    """Several paths as the value of a unit's key."""
    return " ".join(f'"{unit_path(path)}"' if " " in path else unit_path(path) for path in paths)


def unit_variables(variables: dict[str, str]) -> str:
    """An EnvironmentFile: systemd.exec(5). In double quotes a backslash stands before \\ \" ` and $."""
    lines = []
    for name, value in variables.items():
        escaped = value
        for char in '\\"`$':
            escaped = escaped.replace(char, "\\" + char)
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def shell_exports(variables: dict[str, str]) -> str:
    """Lines of a POSIX shell that set and hand on the variables; a name that no shell takes is left out."""
    return "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in variables.items() if name.isidentifier()
    )


def ini(text: str) -> str:
    """A path in supervisord.conf: `%` begins an expansion there."""
    return text.replace("%", "%%")
