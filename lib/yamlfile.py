"""YAML files into typed structs, with errors that name file, line, column and key.

The YAML here is 1.2's core schema: only `true` and `false` are booleans, only decimal, 0x and 0o numbers are
numbers, and there are no dates, no `1:30` for 90, no `no` for false. A key is text, and may stand once.
Anchors, aliases and `<<` work; tags do not. What is read is bounded in size, depth and number of values, so
that no file can keep the tool busy or exhaust its memory.

Owns no knowledge of any one file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lib.errors import ConfigError
from lib.files import storage_errors
from lib.yamlnodes import Composer, Node, short, tame
from lib.yamlwords import either, words

LARGEST_FILE = 1_000_000
OLD_BOOLEAN = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
"""Booleans of YAML 1.1; here they are text, and the error says what to write."""

KeyPath = tuple[str | int, ...]
Patterns = tuple[tuple[str, ...], ...]
"""Key paths in which `*` stands for any key."""
T = TypeVar("T")


class Document:
    """A file that was read: its values with their positions."""

    def __init__(self, name: str, root: Node) -> None:
        self.name = name
        self.root = root

    def node(self, path: KeyPath) -> Node | None:
        """The node at `path`; None where there is none."""
        node = self.root
        for step in path:
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return node

    def position(self, path: KeyPath, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path` (with `key` of its key), or of what is around it."""
        for length in range(len(path), -1, -1):
            parent = self.node(path[: length - 1]) if length else None
            if key and length == len(path) and parent and path[-1] in parent.keys:
                return parent.keys[str(path[-1])]
            node = self.node(path[:length])
            if node is not None:
                return node.line, node.column
        return 1, 1

    def error(self, path: KeyPath, what: str, hint: str = "", *, key: bool = False) -> ConfigError:
        """A ConfigError `file:line:column: key.path: what` about the value (or the key) at `path`."""
        line, column = self.position(path, key=key)
        where = f"{shown_path(path)}: " if path else ""
        return ConfigError(f"{self.name}:{line}:{column}: {where}{what}", hint)

    def plain(self, verbatim: Patterns = (), empty: Patterns = ()) -> Any:
        """The values as dicts, lists and scalars.

        Scalars below a path in `verbatim` stay as they are written (`1.10` is not made 1.1); nothing at a
        path in `empty` is an empty mapping.
        """
        return _plain(self.root, verbatim, empty)

    def convert(self, kind: type[T], verbatim: Patterns = (), empty: Patterns = ()) -> T:
        """The values as a `kind`, strictly.

        Raises: ConfigError.
        """
        data = self.plain(verbatim, empty)
        if data is None:
            data = {}  # a file of comments only says nothing about any key
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            raise self._translated(error, data, kind) from error

    def _translated(self, error: msgspec.ValidationError, data: Any, kind: Any) -> ConfigError:
        # From the right, as an unknown key can hold anything.
        what, at, where = str(error).rpartition(" - at `")
        if not at:
            what, where = where, ""
        about_key = where.startswith("key` in `")
        steps = _steps(where.removeprefix("key` in `").removesuffix("`").removeprefix("$"))
        path = _located(steps, data, kind)
        node = self.node(path)
        if match := re.search(r"unknown field `(.*)`$", what, re.DOTALL):
            return self._unknown(path, match[1], kind)
        if match := re.search(r"missing required field `(.*)`$", what):
            return self.error(path, f"{match[1]!r} is missing")
        if what.startswith("Invalid enum value"):
            allowed = _allowed(_type_at(kind, path))
            wrong = str(node.value) if node else ""
            return self.error(
                path, f"must be {either(allowed)}, not {short(wrong)}", did_you_mean(wrong, allowed)
            )
        hint = ""
        wanted = what.partition(", got")[0]
        if node is not None and isinstance(node.value, str) and re.search(r"\bbool\b", wanted):
            meant = OLD_BOOLEAN.get(node.value.lower())
            hint = f"write {meant}" if meant else ""
        elif (
            node is not None and isinstance(node.value, bool | int | float) and re.search(r"\bstr\b", wanted)
        ):
            hint = f'put it in quotes: "{node.text}"'
        return self.error(path, tame(words(what), 300), hint, key=about_key)

    def _unknown(self, path: KeyPath, name: str, kind: Any) -> ConfigError:
        import msgspec.inspect

        struct = next(
            (t for t in _alternatives(_type_at(kind, path)) if isinstance(t, msgspec.inspect.StructType)),
            None,
        )
        known = [item.encode_name for item in struct.fields] if struct else []
        hint = did_you_mean(name, known) or (f"known here: {', '.join(known)}" if known else "")
        return self.error((*path, name), "unknown key", hint, key=True)


def read(path: Path) -> Document:
    """The file at `path`, with positions and not yet typed.

    Raises: ConfigError, StorageError.
    """
    with storage_errors(path), path.open("rb") as stream:
        raw = stream.read(LARGEST_FILE + 1)
    return parse(raw, str(path))


def parse(raw: bytes, name: str) -> Document:
    """The YAML in `raw`; `name` is what errors call it.

    Raises: ConfigError.
    """
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{name}:1:1: the file is larger than {LARGEST_FILE} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise ConfigError(f"{name}:{line}:{column}: the file is not UTF-8") from error
    return Document(name, Composer(name, text).document())


def load(path: Path, kind: type[T], verbatim: Patterns = (), empty: Patterns = ()) -> T:
    """The file at `path` as a `kind`; see Document.convert.

    Raises: ConfigError, StorageError.
    """
    return read(path).convert(kind, verbatim, empty)


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A hint that names the most similar of `known`, or an empty one."""
    close = difflib.get_close_matches(wrong[:100], list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def shown_path(path: KeyPath) -> str:
    """A key path as people write it: `services.web.command[1]`."""
    shown = ""
    for step in path:
        shown += f"[{step}]" if isinstance(step, int) else ("." if shown else "") + tame(step)
    return shown


def _plain(node: Node, verbatim: Patterns, empty: Patterns) -> Any:
    value = node.value
    if isinstance(value, dict):
        return {key: _plain(item, _below(verbatim, key), _below(empty, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, (), ()) for item in value]
    if value is None:
        return {} if () in empty else None
    return node.text if node.text is not None and () in verbatim else value


def _below(patterns: Patterns, key: str) -> Patterns:
    return tuple(p[1:] for p in patterns if p and p[0] in ("*", key)) if patterns else ()


def _steps(where: str) -> list[str | int | None]:
    """The steps of msgspec's path `.services[...].command[1]`; None for `[...]`, which is any key."""
    steps: list[str | int | None] = []
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", where):
        steps.append(name if name else None if index == "..." else int(index))
    return steps


def _located(steps: list[str | int | None], data: Any, kind: Any) -> KeyPath:
    """`steps` with each unknown key found: the one which alone, without its siblings, is still an error."""
    path: list[str | int] = []
    here = data
    for step in steps:
        if step is None:
            if not isinstance(here, dict):
                break
            whole = dict(here)
            for key, value in whole.items():
                here.clear()
                here[key] = value
                if _fails(data, kind):
                    step = key
                    break
            else:
                return tuple(path)
        path.append(step)
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            break
    return tuple(path)


def _fails(data: Any, kind: Any) -> bool:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError:
        return True
    return False


def _alternatives(info: Any) -> Iterator[Any]:
    """The types that a value may have, a union taken apart."""
    yield from getattr(info, "types", (info,))


def _type_at(kind: Any, path: KeyPath) -> Any:
    """The msgspec.inspect type of the value at `path`; None where it is not known."""
    import msgspec.inspect

    info: Any = msgspec.inspect.type_info(kind)
    for step in path:
        for option in _alternatives(info):
            if isinstance(option, msgspec.inspect.StructType) and isinstance(step, str):
                info = next((item.type for item in option.fields if item.encode_name == step), None)
                break
            if isinstance(option, msgspec.inspect.DictType) and isinstance(step, str):
                info = option.value_type
                break
            if isinstance(option, msgspec.inspect.ListType) and isinstance(step, int):
                info = option.item_type
                break
        else:
            return None
    return info


def _allowed(info: Any) -> list[str]:
    """What may stand where a fixed set of words, and perhaps a number, is allowed."""
    import msgspec.inspect

    options = list(_alternatives(info))
    number = any(isinstance(option, msgspec.inspect.IntType) for option in options)
    words = [str(value) for option in options for value in getattr(option, "values", ())]
    return (["a whole number"] if number else []) + words
