"""From an instance to what its exporters look at: its plan, with the folders and files that it needs written.

The ports are those of its runs; they are not claimed, so a running instance can be exported too.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from lib import assembly
from lib.addressing import typed
from lib.certificates import Certify
from lib.errors import TakenError
from lib.exporters.base import Target
from lib.files import make_folder, write_atomic
from lib.instance import Instance
from lib.kinds import kind_of
from lib.ports import PortBook
from lib.preparing import LAUNCHER, make_secret
from lib.programs.known import find_program, known_hint
from lib.running import is_running
from lib.services.base import Context, RenderedFile
from lib.starting import make_folders
from lib.supervisor.spec import Plan


def make_target(instance: Instance, output: Path, certify: Certify, *, user: bool) -> Target:
    """The target of an export into `output`.

    Raises: MissingError, ConfigError, TakenError, StorageError.
    """
    make_folders(instance)
    book = PortBook(instance.state / "ports.json", instance.name)

    def port(key: str, wanted: int) -> int:
        return wanted or book.ports.get(key) or book.port(key)

    try:
        certificates = None
        if any(kind_of(name, config) == "nginx" for name, config in instance.config.services.items()):
            certificates = certify(instance)
        context = Context(
            instance=instance, port=port, secret=lambda name: make_secret(instance, name), launcher=LAUNCHER,
            certificates=certificates, find_program=find_program, known_hint=known_hint,
        )  # fmt: skip
        parts = assembly.assemble(context, assembly.choose(instance), {})
        for folder in parts.folders:
            make_folder(folder, 0o700)
        _check_unchanged(instance, parts.files)
        for file in parts.files:
            make_folder(file.path.parent, 0o700)
            write_atomic(file.path, file.content, file.mode)
    finally:
        book.release()
    return plain_target(instance, output, user=user, plan=parts.plan)


def _check_unchanged(instance: Instance, files: Iterable[RenderedFile]) -> None:
    """Raises: TakenError where a running service would find other files at its next start."""
    if not is_running(instance):
        return
    for file in files:
        if file.path.exists() and file.path.read_text(errors="replace") != file.content:
            raise TakenError(
                f"{instance.name} runs with another {file.path.name} than its folder says now",
                f"ampzero reload {typed(instance)} first, or stop it",
            )


def plain_target(instance: Instance, output: Path, *, user: bool, plan: Plan | None = None) -> Target:
    """The target for what needs no services (without a `plan`), as keeping the whole instance."""
    empty = Plan(
        name=instance.name, directory=str(instance.directory), var=str(instance.var),
        sockets=str(instance.sockets), services=(),
    )  # fmt: skip
    uid = os.getuid()
    return Target(
        instance=instance, plan=plan or empty, output=output, launcher=LAUNCHER, user=user,
        owner="" if uid == 0 else pwd.getpwuid(uid).pw_name, path=os.environ.get("PATH", os.defpath),
    )  # fmt: skip
