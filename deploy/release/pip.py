"""pip, as a program: loads wheels into a folder, and says in one line why it could not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.release.platform import Platform
from lib.errors import AmpzeroError, MissingError
from lib.files import make_folder, storage_errors

TIMEOUT = 1800.0
"""Seconds for all the wheels of a tree; a slow line and a large library need many."""
_NO_WHEEL = re.compile(r"No matching distribution found for ([^\n]+)")
_UNREACHABLE = re.compile(r"(?:Retrying \(|Could not fetch URL|NewConnectionError|Failed to establish)[^\n]*")

_CONFLICT = re.compile(r"ERROR: (Cannot install [^\n]+)")
_CAUSES = "The conflict is caused by:"


class UnmetError(MissingError):
    """There are no wheels that meet what was asked for."""


def download(requirements: Iterable[str], platform: Platform, folder: Path, pins: Mapping[str, str]) -> None:
    """Load the wheels of `requirements` and what they need, at the versions `pins`, into the new `folder`.

    pip's own settings hold: its index, its proxy.

    Raises: MissingError where there is no pip or no wheel; AmpzeroError; StorageError.
    """
    make_folder(folder, 0o700)
    asked, pinned = folder / "requirements.txt", folder / "constraints.txt"
    with storage_errors(folder):
        asked.write_text("".join(f"{each}\n" for each in requirements))
        pinned.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins.items())))
    argv = [
        sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check",
        "--retries=2", *platform.pip_options(), "--dest", str(folder), "-r", str(asked), "-c", str(pinned),
    ]  # fmt: skip
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise AmpzeroError(f"pip did not end within {TIMEOUT:g} s", "try again") from error
    if done.returncode:
        raise failure(done.stderr, platform, done.stdout)


def failure(said: str, platform: Platform, told: str = "") -> AmpzeroError:
    """The error for what pip said (stderr) and told (stdout) when it failed."""
    if "No module named pip" in said:
        return MissingError(
            f"pip is missing from {sys.executable}: it loads the libraries of a release",
            f"{sys.executable} -m ensurepip, or your system's package python3-pip",
        )
    if match := _UNREACHABLE.search(said):
        return AmpzeroError(f"the package index cannot be reached: {match[0][:200]}", "see: pip config list")
    if match := _NO_WHEEL.search(said):
        name = match[1].partition(" (from")[0].strip()
        return UnmetError(
            f"there is no wheel of {name} for {platform.text}",
            "nothing is compiled on hosts: choose a version that has one, or have `pip wheel` make one in a "
            "folder for PIP_FIND_LINKS",
        )
    if match := _CONFLICT.search(said):
        causes = [line.strip() for line in told.partition(_CAUSES)[2].splitlines() if line.startswith("    ")]
        words = "; ".join([match[1].rstrip(".")[:200], *causes[:4]])
        return UnmetError(f"pip: {words}", "ask for versions that go together")
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    words = (errors or said.strip().splitlines() or ["it failed"])[0]
    return AmpzeroError(f"pip: {words[:300]}", "see: " + f"{sys.executable} -m pip download --help")
