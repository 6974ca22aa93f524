"""What a release is built of, made for tests: wheels in a folder for pip, git repositories."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.config import Config
from lib.instance import Instance

PLATFORM = "linux-x86_64-glibc2.36-cp311"
DATE = "2026-03-01T12:00:00+00:00"


def make_wheel(
    folder: Path, name: str, version: str = "1.0", *, requires: Iterable[str] = (),
    tag: str = "py3-none-any", files: Mapping[str, bytes | str] | None = None,
) -> Path:  # fmt: skip
    """A wheel with these files (default: the module NAME.py) in `folder`."""
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    content: dict[str, bytes | str] = {
        **({f"{name}.py": f"VERSION = {version!r}\n"} if files is None else files),
        f"{info}/METADATA": "\n".join([*metadata, *(f"Requires-Dist: {each}" for each in requires), ""]),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in content.items():
            archive.writestr(place, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{each},,\n" for each in content))
    return path


def repack(folder: Path, name: str) -> Path:
    """The wheel of a library as it is installed beside this Python."""
    found = importlib.metadata.distribution(name)
    lines = (found.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    tag = "-".join(".".join(sorted({each[index] for each in tags})) for index in range(3))
    path = folder / f"{name.replace('-', '_')}-{found.version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for listed in found.files or []:
            place = Path(str(found.locate_file(listed)))
            if ".." not in listed.parts and "__pycache__" not in listed.parts and place.is_file():
                archive.write(place, str(listed))
    return path


def own_platform() -> str:
    """The platform of this machine and this Python."""
    kind, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # type: ignore[union-attr]  # it is glibc's
    return f"linux-{platform.machine()}-{kind}{version}-cp3{sys.version_info[1]}"


def git(folder: Path, *arguments: str) -> str:
    """What git prints; commits have one name and one date."""
    who = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t"}
    fixed = {**who, "GIT_COMMITTER_EMAIL": "t@t", "GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **fixed}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def put(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files into the folder."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def commit(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """Commit all that is in the folder, with these files; the repository is made where there is none."""
    put(folder, files or {})
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "--allow-empty", "-m", "test")
    return folder


def instance_in(folder: Path) -> Instance:
    """The instance in the folder, without looking at it."""
    return Instance("demo", folder / "var", "demo", folder, folder / "amprun.yaml", Config())


def record_of(folder: Path, paths: Iterable[str]) -> str:
    """The RECORD of installed files."""
    lines = []
    for path in paths:
        content = (folder / path).read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        lines.append(f"{path},sha256={digest},{len(content)}\n")
    return "".join(lines)
