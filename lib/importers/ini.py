"""Where the keys of an INI file stand: the parsers of circus and supervisor do not tell lines."""

from __future__ import annotations

import re

SECTION = re.compile(r"\[([^]]+)\]")
OPTION = re.compile(r"([^:=\s][^:=]*?)\s*[:=]")


class Lines:
    """The line (from 1) of each section and of each of its keys."""

    def __init__(self, text: str) -> None:
        self.sections: dict[str, int] = {}
        self.keys: dict[tuple[str, str], int] = {}
        section = ""
        for number, line in enumerate(text.split("\n"), 1):
            if match := SECTION.match(line):
                section = match[1]
                self.sections.setdefault(section, number)
            elif line[:1].isspace() or line[:1] in ("#", ";"):
                continue
            elif match := OPTION.match(line):
                self.keys.setdefault((section, match[1].lower()), number)

    def line(self, section: str, key: str = "") -> int:
        """Where `key` of `section` stands; its section's line, or 1, where that is not known."""
        found = self.keys.get((section, key.lower())) or self.sections.get(section)
        return found or 1

    def of(self, section: str) -> dict[str, int]:
        """The keys of a section in this file, with their lines."""
        return {key: line for (name, key), line in self.keys.items() if name == section}
