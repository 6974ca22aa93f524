"""The TLS files of a run, as keys/tls/certifying.py, which `lib` does not know, hands them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lib.instance import Instance


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files. `certificate`, with its chain, and `key` are what browsers are shown.

    `leaf` and `leaf_key` are the instance's own, of the local CA: the key that the host's pin is of, for
    calls between instances. Both are the same files where amprun.yaml says nothing of `tls`. `challenges` is
    the folder of the answers that an ACME server asks for on port 80, `settings` tells one `tls` from others.
    """

    certificate: Path
    key: Path
    leaf: Path
    leaf_key: Path
    challenges: Path | None = None
    settings: str = ""

    def text(self) -> str:
        """All of it as JSON, for the plan's notes."""
        return msgspec.json.encode(self, enc_hook=str).decode()


Certify = Callable[[Instance], Certificates]
"""Makes sure that there are TLS files for this run. Asks no network."""


def noted(text: str) -> Certificates:
    """What `text()` made.

    Raises: ValueError for anything else.
    """
    try:
        return msgspec.json.decode(text, type=Certificates, dec_hook=lambda kind, value: kind(value))
    except (msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"no TLS files: {error}") from error
