"""What a keeper must know after it was killed: which mapping may be left, and the proof that it is ours."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from lib.files import make_folder, write_atomic
from lib.nat.pcp import NONCE_BYTES

LONGEST = 64_000
"""Bytes of it that are read."""


@dataclass(frozen=True)
class Memory:
    """The last mapping that was asked for. `may_exist` until it was removed; the nonce is hex, and secret."""

    method: str = ""
    internal_port: int = 0
    external_port: int = 0
    external_address: str = ""
    may_exist: bool = False
    nonce: str = field(default_factory=lambda: os.urandom(NONCE_BYTES).hex())


class MemoryFile:
    """Keeps a Memory; a missing or damaged file is an empty one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.memory = _read(path)

    def remember(self, **changes: Any) -> None:
        """Change these fields of the memory, and write it.

        Raises: StorageError.
        """
        self.memory = replace(self.memory, **changes)
        content = msgspec.json.encode(self.memory)
        make_folder(self.path.parent, 0o700)
        write_atomic(self.path, msgspec.json.format(content, indent=2) + b"\n", 0o600)


def _read(path: Path) -> Memory:
    try:
        with path.open("rb") as stream:
            memory = msgspec.json.decode(stream.read(LONGEST), type=Memory)
    except (OSError, ValueError, RecursionError):
        return Memory()
    return memory if _is_sound(memory) else Memory()


def _is_sound(memory: Memory) -> bool:
    ports = (memory.internal_port, memory.external_port)
    try:
        nonce = bytes.fromhex(memory.nonce)
    except ValueError:
        return False
    return len(nonce) == NONCE_BYTES and all(0 <= port <= 65535 for port in ports)
