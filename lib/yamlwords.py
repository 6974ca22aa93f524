"""What msgspec says about a value, in the words of the people who write the files."""

from __future__ import annotations

import re

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}


def words(what: str) -> str:
    """msgspec's words in ours: "Expected `int`, got `str`" is "must be a whole number, not text"."""
    if match := re.fullmatch(r"Expected `([a-z| ]+)`, got `([a-z]+)`", what):
        wanted = [WORDS.get(part, part) for part in match[1].split(" | ") if part != "null"]
        return f"must be {either(wanted)}, not {WORDS.get(match[2], match[2])}"
    if match := re.fullmatch(r"Expected `str` matching regex (.*)", what):
        return f"must match {match[1].strip(chr(39))}"
    if match := re.fullmatch(r"Expected `(int|float)` (<=|>=|<|>) (\S+)", what):
        signs = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
        return f"must be {signs[match[2]]} {match[3]}"
    return re.sub(
        r"\b(" + "|".join(WORDS) + r")\b",
        lambda match: WORDS[match[0]],
        what.replace("`", "").replace("Expected", "must be"),
    )


def either(options: list[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else (options or ["other"])[0]
