"""Libraries for a platform, as wheels: chosen and loaded by pip, never compiled, unpacked into a tree.

Wheels that were chosen once stay chosen: they are kept by what was asked for, so that the same commit gives
the same tree. Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import email
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from deploy.agent.archive import Entry
from deploy.release.pip import download
from deploy.release.platform import Platform
from deploy.release.requirements import Asked, Library, closure
from lib.errors import AmpzeroError
from lib.files import make_folder, storage_errors, write_atomic

ROUNDS = 8
"""Times that pip is asked again for what only the host's variables ask for."""
KEPT_SETS = 20
LIBRARIES = ("purelib", "platlib")
"""The folders in a wheel's `.data` that belong beside its packages; scripts and headers are left out."""


@dataclass(frozen=True)
class Wheel:
    """One wheel file."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """The library's canonical name."""
        return str(parse_wheel_filename(self.path.name)[0])

    @property
    def version(self) -> str:
        """The library's version."""
        return str(parse_wheel_filename(self.path.name)[1])

    def library(self) -> Library:
        """What its metadata says.

        Raises: AmpzeroError.
        """
        try:
            with self._opened() as archive:
                names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
                metadata = email.message_from_bytes(archive.read(min(names, key=len)))
            requires = tuple(Requirement(line) for line in metadata.get_all("Requires-Dist", []))
        except (ValueError, zipfile.BadZipFile) as error:
            raise AmpzeroError(f"the wheel {self.path.name} has no good metadata: {error}") from error
        return Library(self.version, requires)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Its files, as they stand below `folder` in a tree.

        Raises: AmpzeroError.
        """
        archive = self._opened()
        for info in archive.infolist():
            if info.is_dir() or info.filename.endswith(".pyc"):
                continue
            path = _place(info.filename)
            if path:
                mode = 0o755 if info.external_attr >> 16 & 0o111 else 0o644
                yield Entry(f"{folder}/{path}", mode, partial(_open, archive, info), size=info.file_size)

    def _opened(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise AmpzeroError(f"the wheel {self.path} cannot be read: {error}", "remove it") from error


def _open(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    opened: IO[bytes] = archive.open(info)
    return cast(BinaryIO, opened)


def _place(name: str) -> str:
    """Where a wheel's file goes; empty for what only an installer uses."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    kind, _, path = rest.partition("/")
    return path if kind in LIBRARIES else ""


def choose(
    roots: Iterable[Requirement], platform: Platform, cache: Path, pins: Mapping[str, str]
) -> list[Wheel]:
    """The wheels of `roots` and all that they need on the platform, by name; from the cache where it can be.

    `pins` are versions by name that must be chosen.

    Raises: MissingError that names what has no wheel; AmpzeroError; StorageError.
    """
    roots = sorted(roots, key=str)
    if not roots:
        return []
    asked = [platform.text, list(map(str, roots)), sorted(pins.items())]
    place = cache / "wheels" / hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:32]
    kept = _kept(place)
    if kept is None:
        make_folder(place.parent, 0o700)
        with storage_errors(place), tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
            _choose(roots, platform, Path(scratch), pins)
            shutil.rmtree(place, ignore_errors=True)
            Path(scratch).rename(place)
            Path(scratch).mkdir()  # for the context to remove
            _forget_old(place.parent)
        kept = _kept(place) or []
    return kept


def _choose(roots: list[Requirement], platform: Platform, folder: Path, pins: Mapping[str, str]) -> None:
    """Have the wheels in `folder`, with the list of them."""
    more: dict[str, Requirement] = {}
    for number in range(ROUNDS):
        trial = folder / f"trial-{number}"
        download([*map(str, roots), *more], platform, trial, pins)
        wheels = {wheel.name: wheel for wheel in map(_read, trial.glob("*.whl"))}
        libraries = {name: wheel.library() for name, wheel in wheels.items()}
        needed, unmet = closure(roots, libraries.get, platform)
        fresh = {str(each): each for each in unmet if str(each) not in more}
        if not unmet:
            for name in needed:
                wheels[name].path.rename(folder / wheels[name].path.name)
            listed = {wheels[name].path.name: wheels[name].sha256 for name in needed}
            write_atomic(folder / "wheels.json", msgspec.json.encode(listed), 0o600)
            for trial in folder.glob("trial-*"):
                shutil.rmtree(trial)
            return
        if not fresh:
            break
        more |= fresh
    raise AmpzeroError(f"no set of wheels meets all requirements for {platform.text}: {unmet[0]} is not met")


def _read(path: Path) -> Wheel:
    with storage_errors(path), path.open("rb") as stream:
        return Wheel(path, hashlib.file_digest(stream, "sha256").hexdigest())


def _kept(folder: Path) -> list[Wheel] | None:
    """The wheels of a folder, all of them whole."""
    try:
        listed = msgspec.json.decode((folder / "wheels.json").read_bytes(), type=dict[str, str])
        wheels = [_read(folder / Path(name).name) for name in sorted(listed)]
    except (OSError, AmpzeroError, msgspec.MsgspecError):
        return None
    if not all(listed[wheel.path.name] == wheel.sha256 for wheel in wheels):
        return None
    os.utime(folder)
    return wheels


def _forget_old(folder: Path) -> None:
    by_use = sorted(folder.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
    for path in by_use[:-KEPT_SETS]:
        shutil.rmtree(path, ignore_errors=True)


def unpack(wheels: Iterable[Wheel], folder: str) -> list[Entry]:
    """The files of all wheels below `folder`.

    Raises: AmpzeroError where two wheels have the same path with another content.
    """
    found: dict[str, Entry] = {}
    for wheel in wheels:
        for entry in wheel.entries(folder):
            other = found.setdefault(entry.path, entry)
            if other is not entry and b"".join(other.chunks()) != b"".join(entry.chunks()):
                raise AmpzeroError(f"two libraries have the file {entry.path}, one is {wheel.name}")
    return list(found.values())


def check_hashes(chosen: Iterable[Wheel], asked: Iterable[Asked]) -> None:
    """Hold the wheels against the hashes that their requirements name.

    Raises: AmpzeroError.
    """
    wheels = {wheel.name: wheel for wheel in chosen}
    for each in asked:
        wheel = wheels.get(canonicalize_name(each.requirement.name))
        if wheel is not None and each.hashes and f"sha256:{wheel.sha256}" not in each.hashes:
            raise AmpzeroError(
                f"{wheel.path.name} has none of the hashes that are asked for", "look where it came from"
            )


def versions(wheels: Iterable[Wheel]) -> dict[str, str]:
    """Version by canonical name."""
    return {canonicalize_name(wheel.name): wheel.version for wheel in wheels}
