"""XML-RPC calls and answers (xmlrpc.com/spec), as far as supervisor's clients use it; on expat alone.

The standard library's xmlrpc.client would be 2 MB more in memory, reads DTDs, and makes objects of any depth.
Here a document type is refused before anything in it counts, so no entity is ever expanded (CVE-2013-1664);
depth, number and size of values are bounded. Owns no socket.
"""

from __future__ import annotations

import re
from typing import Any
from xml.parsers import expat

DEPTH_MAX = 32
"""Elements inside each other; a multicall's parameters are 14 deep."""
VALUES_MAX = 10_000
INT_MAX = (1 << 31) - 1
"""The protocol's integers have 32 bits (i4)."""

NAME = re.compile(r"[A-Za-z0-9_.:/]{1,100}")
SCALARS = ("string", "int", "i4", "boolean", "double")
STRUCTURE = (
    "methodCall",
    "methodName",
    "params",
    "param",
    "value",
    "array",
    "data",
    "struct",
    "member",
    "name",
)
UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write (2.2 Characters)."""


class NotACallError(Exception):
    """The bytes are no XML-RPC call, or one beyond the bounds."""


class _Reader:
    """Collects the values of a call while expat reads it."""

    def __init__(self) -> None:
        self.method = ""
        self.stack: list[tuple[str, list[Any]]] = []
        """Open elements: their names, and the values inside."""
        self.params: list[Any] | None = None
        self._text: list[str] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._count += 1
        if name not in SCALARS + STRUCTURE or len(self.stack) >= DEPTH_MAX or self._count > VALUES_MAX:
            raise NotACallError(f"<{name[:20]}> is not expected")
        if not self.stack and name != "methodCall":
            raise NotACallError("no methodCall")
        self.stack.append((name, []))
        self._text = []

    def text(self, data: str) -> None:
        """Characters, in pieces as expat has them."""
        self._text.append(data)

    def end(self, name: str) -> None:
        """An element ends; its value goes to the one around it."""
        _, inside = self.stack.pop()
        text, self._text = "".join(self._text), []
        if name == "methodName":
            self.method = text.strip()
            return
        if name == "params":
            self.params = inside
            return
        if not self.stack:
            return
        around = self.stack[-1][1]
        if name in SCALARS:
            around.append(_scalar(name, text))
        elif name == "value":
            # A value without a type is a string.
            around.append(_one(inside) if inside else text)
        elif name == "name":
            around.append(text)
        elif name == "member":
            if len(inside) != 2 or not isinstance(inside[0], str):
                raise NotACallError("a member is a name and a value")
            around.append(tuple(inside))
        elif name == "struct":
            around.append(dict(inside))
        elif name == "data":
            around.append(inside)
        else:
            around.append(_one(inside))


def _one(inside: list[Any]) -> Any:
    if len(inside) != 1:
        raise NotACallError("one value is expected")
    return inside[0]


def _scalar(name: str, text: str) -> Any:
    if name == "string":
        return text
    word = text.strip()
    try:
        if name == "boolean":
            return {"0": False, "1": True}[word]
        if name == "double":
            return float(word)
        number = int(word) if len(word) < 12 else INT_MAX + 1
    except (KeyError, ValueError):
        raise NotACallError(f"{word[:20]!r} is no {name}") from None
    if not -INT_MAX - 1 <= number <= INT_MAX:
        raise NotACallError("an integer of more than 32 bits")
    return number


def parse_call(document: bytes) -> tuple[str, list[Any]]:
    """The method and the parameters of a call.

    Raises: NotACallError.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=None)
    parser.buffer_text = True

    def refuse(*unused: object) -> None:
        raise NotACallError("a document type is refused")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError, TypeError) as error:
        raise NotACallError(f"no XML-RPC: {error}") from None
    if not NAME.fullmatch(reader.method):
        raise NotACallError("no method's name")
    return reader.method, reader.params or []


def answer(value: Any) -> bytes:
    """The document that answers a call with `value`: None, bool, int, float, str, list, dict of them."""
    return _document(f"<params><param>{_write(value)}</param></params>")


def fault(code: int, text: str) -> bytes:
    """The document that answers a call with an error."""
    return _document(f"<fault>{_write({'faultCode': code, 'faultString': text})}</fault>")


def _document(inside: str) -> bytes:
    return f"<?xml version='1.0'?>\n<methodResponse>{inside}</methodResponse>\n".encode()


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return f"<value><boolean>{value:d}</boolean></value>"
    if isinstance(value, int):
        return f"<value><int>{max(-INT_MAX - 1, min(value, INT_MAX))}</int></value>"
    if isinstance(value, float):
        return f"<value><double>{value!r}</double></value>"
    if isinstance(value, list | tuple):
        return f"<value><array><data>{''.join(map(_write, value))}</data></array></value>"
    if isinstance(value, dict):
        members = (
            f"<member><name>{_escape(str(name))}</name>{_write(each)}</member>"
            for name, each in value.items()
        )
        return f"<value><struct>{''.join(members)}</struct></value>"
    return f"<value><string>{_escape('' if value is None else str(value))}</string></value>"


def _escape(text: str) -> str:
    tame = UNWRITABLE.sub("?", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return tame.replace("\r", "&#13;")
