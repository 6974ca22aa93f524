"""YAML text into nodes with positions: bounded, in YAML 1.2's core schema, each key once.

Owns what a value means and what is refused; types are lib/yamlfile.py's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from lib.errors import ConfigError

DEEPEST = 50
MOST_VALUES = 100_000
"""Values after aliases are followed: what a "billion laughs" file would multiply."""

NOTHING = re.compile(r"|~|null|Null|NULL")
BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"([-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))")


@dataclass(slots=True)
class Node:
    """One value of the file. `value` is a scalar, a list of nodes, or a dict of them by key.

    `line` and `column` count from 1; `keys` has the positions of a mapping's keys; `text` is the source text
    of a scalar without quotes; `size` counts the values in it, aliases followed.
    """

    value: Any
    line: int
    column: int
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    text: str | None = None
    size: int = 1


class Composer:
    """Makes nodes of the parser's events, one text once.

    Not PyYAML's own composer: that one recurses without a bound.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.anchors: dict[str, Node | None] = {}
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self.parser = loader(text)
        except yaml.YAMLError as error:
            raise self.syntax(error) from error

    def document(self) -> Node:
        """The root node.

        Raises: ConfigError.
        """
        try:
            self.event()  # the stream's start
            event = self.event()
            if isinstance(event, events.StreamEndEvent):
                return Node(None, 1, 1, text="")
            root = self.node(self.event(), 0)
            self.event()  # the document's end
            event = self.event()
            if not isinstance(event, events.StreamEndEvent):
                raise self.error(event, "a second document begins here; there may be only one")
            return root
        except yaml.YAMLError as error:
            raise self.syntax(error) from error
        finally:
            self.parser.dispose()

    def event(self) -> Any:
        """The next event."""
        return self.parser.get_event()

    def error(self, event: Any, what: str, hint: str = "") -> ConfigError:
        """An error about the place of `event`."""
        mark = event.start_mark
        return ConfigError(f"{self.name}:{mark.line + 1}:{mark.column + 1}: {what}", hint)

    def syntax(self, error: yaml.YAMLError) -> ConfigError:
        """PyYAML's error as one of ours."""
        mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "this cannot be read"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        lines = self.text.splitlines()
        tab = line <= len(lines) and lines[line - 1][:column].lstrip(" ").startswith("\t")
        hint = "indent with spaces, not with tabs" if tab else "text with : # { } [ ] or , goes in quotes"
        return ConfigError(f"{self.name}:{line}:{column}: not YAML: {what}", hint)

    def node(self, event: Any, depth: int) -> Node:
        """The node that begins with `event`."""
        if depth > DEEPEST:
            raise self.error(event, f"nested deeper than {DEEPEST} levels")
        anchor = event.anchor
        if isinstance(event, events.AliasEvent):
            known = self.anchors.get(anchor)
            if known is None:
                inside = anchor in self.anchors
                raise self.error(
                    event, f"*{anchor} " + ("contains itself" if inside else "is not defined above")
                )
            return known
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            raise self.error(event, f"the tag {short(event.tag)} is not known here", "remove it")
        if anchor is not None:
            self.anchors[anchor] = None
        mark = event.start_mark
        node = Node(None, mark.line + 1, mark.column + 1)
        if isinstance(event, events.ScalarEvent):
            if "\0" in event.value:
                raise self.error(event, "a zero byte cannot stand in a value")
            plain = event.tag is None and event.implicit[0]
            node.text = event.value if plain else None
            node.value = self.scalar(event) if plain else event.value
        elif isinstance(event, events.SequenceStartEvent):
            self.sequence(node, event, depth)
        else:
            self.mapping(node, event, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def scalar(self, event: Any) -> str | int | float | bool | None:
        """The value of a scalar without quotes."""
        text: str = event.value
        first = text[:1]
        if first not in "~nNtTfF+-.0123456789":  # also true of empty text's first character, ""
            return text
        if NOTHING.fullmatch(text):
            return None
        if BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        if INTEGER.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if FLOAT.fullmatch(text):
            return float(text)
        if NOT_FINITE.fullmatch(text):
            raise self.error(
                event, f"{text} is not a number that can be used here", "put it in quotes if it is text"
            )
        return text

    def sequence(self, node: Node, start: Any, depth: int) -> None:
        """Fill `node` with the items up to the list's end."""
        node.value = []
        while not isinstance(event := self.event(), events.SequenceEndEvent):
            item = self.node(event, depth + 1)
            node.value.append(item)
            self.grow(node, item, start)

    def mapping(self, node: Node, start: Any, depth: int) -> None:
        """Fill `node` with the entries up to the mapping's end."""
        node.value = {}
        merged: list[Node] = []
        while not isinstance(event := self.event(), events.MappingEndEvent):
            if not isinstance(event, events.ScalarEvent):
                raise self.error(event, "a key must be plain text")
            mark: Any = event.start_mark
            key, at = event.value, (mark.line + 1, mark.column + 1)
            merging = key == "<<" and event.implicit[0]
            if key in node.keys:
                before = node.keys[key][0]
                raise self.error(
                    event, f"{short(key)} stands twice in the same mapping, first in line {before}"
                )
            if not key:
                raise self.error(event, "a key is empty")
            node.keys[key] = at
            item = self.node(self.event(), depth + 1)
            self.grow(node, item, start)
            if merging:
                merged += self.merge_sources(item, event)
            else:
                node.value[key] = item
        if merged:
            del node.keys["<<"]
        for source in merged:
            for key, item in source.value.items():
                if key not in node.value:
                    node.value[key], node.keys[key] = item, source.keys[key]

    def merge_sources(self, item: Node, event: Any) -> list[Node]:
        """The mappings that `<<` names."""
        sources = item.value if isinstance(item.value, list) else [item]
        if not all(isinstance(source.value, dict) for source in sources):
            raise self.error(event, "<< wants a mapping, or a list of mappings")
        return sources

    def grow(self, node: Node, item: Node, start: Any) -> None:
        """Count `item` into `node`, up to the bound."""
        node.size += item.size
        if node.size > MOST_VALUES:
            raise self.error(start, f"more than {MOST_VALUES} values, counting those repeated by aliases")


def tame(text: str, longest: int = 60) -> str:
    """`text` without characters that a terminal would obey, and not endless."""
    return "".join(char if char.isprintable() else "?" for char in text[:longest])


def short(text: str) -> str:
    """`text` quoted for a message, and not endless."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
