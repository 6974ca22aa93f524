"""The files of ampzero itself where it was installed from a wheel: those that its RECORD names, unchanged.

Format: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from deploy.release.committed import SHOWN, File, Source
from lib.errors import MissingError, TakenError

NAME = "ampzero"
MTIME = 315532800
"""1980-01-01: there is no commit whose time could be taken, and zip knows no earlier one."""


def installed(folder: Path, paths: Sequence[str]) -> Source:
    """What was installed of `paths` into `folder`.

    Raises: MissingError where it was not installed there; TakenError where a file was changed since.
    """
    try:
        distribution = importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingError(
            f"{folder} is neither a git checkout nor an installed package: nothing says what belongs to it",
            "install ampzero with pip, or deploy from a clone",
        ) from error
    files, changed = [], []
    # Not `distribution.files`: it passes over what is missing.
    for path, recorded, *_ in filter(None, csv.reader((distribution.read_text("RECORD") or "").splitlines())):
        if path.partition("/")[0] not in paths or path.endswith(".pyc"):
            continue
        place = folder / path
        content = place.read_bytes() if place.is_file() else b""
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        if not place.is_file() or recorded != f"sha256={digest}":
            changed.append(path)
        files.append(File(path, "100644", digest, len(content)))
    if changed or not files:
        raise TakenError(
            f"{folder} is not as it was installed: {', '.join(changed[:SHOWN]) or 'its files are elsewhere'}",
            "pip install --force-reinstall ampzero",
        )
    return Source(tuple(files), distribution.version, MTIME)


def opener(folder: Path, path: str) -> BinaryIO:
    """Opens an installed file."""
    return (folder / path).open("rb")
