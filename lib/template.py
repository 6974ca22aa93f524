"""Jinja2 templates: a string, or a tree of files. A name that has no value is an error, never empty text.

Owns the translation of Jinja2's errors. A template may only use the values that it is given: there is no
include and no import, and it runs sandboxed, so that a template of an instance cannot reach into the tool.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

from lib.errors import ConfigError
from lib.files import storage_errors, write_atomic

SUFFIX = ".j2"
"""Files of a tree with this suffix are rendered, and lose it."""
RENAMED = {"gitignore": ".gitignore"}
"""A template cannot hold the file itself: git, and the tool that builds the wheel, would obey it."""
LEFT_OUT = ("__pycache__", ".DS_Store")


def _environment() -> jinja2.Environment:
    environment = jinja2.sandbox.SandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # configuration files, not HTML
    )
    environment.filters["quoted"] = quoted
    environment.filters["inline"] = inline
    return environment


def inline(value: Any) -> str:
    """The filter `inline`: `value` (a scalar, a list, a mapping) as YAML on one line, texts in quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(str(key))}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(inline, value)) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def quoted(text: str) -> str:
    """The filter `quoted`: `text` as a YAML scalar in double quotes.

    JSON's quoting is YAML's too, but for some characters that YAML calls not printable.
    """
    shown = json.dumps(text, ensure_ascii=False)
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", shown
    )


def render_string(text: str, values: Mapping[str, Any], name: str) -> str:
    """`text` rendered with `values`; `name` is what errors call it (a file's path).

    Raises: ConfigError with `name:line`.
    """
    return _render(_environment(), text, values, name)


def _render(environment: jinja2.Environment, text: str, values: Mapping[str, Any], name: str) -> str:
    try:
        return environment.from_string(text).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{name}:{error.lineno}: {error.message}") from error
    except jinja2.UndefinedError as error:
        known = ", ".join(sorted(values))
        raise ConfigError(f"{name}:{_line(error)}: {error.message}", f"known here: {known}") from error
    except Exception as error:  # an expression in a template can raise anything
        raise ConfigError(f"{name}:{_line(error)}: {type(error).__name__}: {error}") from error


def _line(error: BaseException) -> int:
    """The line in the template at which `error` was raised: the innermost frame of the template."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"
    ]
    return (lines[-1] if lines else 0) or 1


def template_files(folder: Path) -> dict[str, Path]:
    """What a tree of templates makes: the path of each file below the target, and the file it comes from."""
    found: dict[str, Path] = {}
    for source in sorted(folder.rglob("*")):
        relative = source.relative_to(folder)
        if source.is_dir() or any(part in LEFT_OUT for part in relative.parts) or source.suffix == ".pyc":
            continue
        name = relative.name.removesuffix(SUFFIX)
        name = RENAMED.get(name, name)
        found[str(relative.with_name(name))] = source
    return found


def render_tree(template_folder: Path, target: Path, values: Mapping[str, Any]) -> list[str]:
    """Render `*.j2` of a folder into `target`, copy all other files; the paths made, relative to `target`.

    A file keeps its executable bit. Existing files are replaced, one at a time.

    Raises: ConfigError, StorageError.
    """
    environment = _environment()
    files = template_files(template_folder)
    for name, source in files.items():
        made = target / name
        with storage_errors(made):
            made.parent.mkdir(parents=True, exist_ok=True)
            executable = source.stat().st_mode & stat.S_IXUSR
            if source.suffix == SUFFIX:
                text = _render(
                    environment, source.read_text("utf-8"), values, f"{source.parent.name}/{source.name}"
                )
                write_atomic(made, text)
            else:
                shutil.copyfile(source, made)
            made.chmod(0o755 if executable else 0o644)
    return list(files)
