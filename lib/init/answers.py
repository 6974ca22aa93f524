"""What `init` needs to know: the answers, their defaults and their checks.

Owns no asking (lib/commands/init.py) and no making (lib/init/scaffold.py).
"""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import Any

import msgspec

from lib.config import DEFAULT_ROOT, NAME_PATTERN
from lib.errors import UsageError
from lib.root import can_write, user_root

LOCAL_HUB = "local"
KEYS = ("port", "root", "hub", "user")
"""What --set takes, in the order of the questions."""


class FromService(msgspec.Struct, frozen=True):
    """A service that was read from another format: `values` are its keys, as amprun.yaml has them."""

    name: str
    values: dict[str, Any]


class Answers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answers that are recorded with the first commit. A passphrase is none of them."""

    name: str
    port: int = 8040
    root: str = ""
    hub: str = LOCAL_HUB
    user: str = ""
    encrypted: bool = False
    services: tuple[FromService, ...] = ()


def check_name(name: str) -> str:
    """`name`, if an instance can be called so.

    Raises: UsageError.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        shown = repr(name if len(name) <= 40 else name[:37] + "...")
        hint = "small letters, digits, - and _, a letter first, at most 32"
        if "/" in name:
            hint += "; say with --dir where it is to be"
        raise UsageError(f"{shown} is not a name for an instance", hint)
    return name


def check(key: str, text: str) -> str | int:
    """The answer to the question `key`, checked.

    Raises: UsageError.
    """
    value = text.strip()
    if any(not char.isprintable() for char in value):
        raise UsageError(f"{key}: characters that cannot be printed")
    if key == "port":
        if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65535:
            raise UsageError(f"port: {value[:20]!r} is not a port", "1 to 65535; below 1024 needs root")
        return int(value)
    if key == "hub" and value != LOCAL_HUB and not re.fullmatch(r"https?://[!-~]{1,500}#[\w-]{43}", value):
        raise UsageError(
            f"hub: {value[:60]!r} is neither {LOCAL_HUB!r} nor a hub's URL with its fingerprint",
            "as https://hub.example#FINGERPRINT, which its operator gives you",
        )
    if key == "user" and not re.fullmatch(r"[\w.@+-][\w.@+ -]{0,63}", value):
        raise UsageError(f"user: {value[:60]!r} is not a name", "letters, digits, spaces and . @ + _ -")
    if key == "root":
        if not value or len(value) > 4096:
            raise UsageError("root: not a folder", "an absolute path, or ~/...")
        try:
            Path(value).expanduser()
        except RuntimeError as error:
            raise UsageError(f"root: no home folder for {value[:60]!r}") from error
    return value


def settings(pairs: tuple[str, ...]) -> dict[str, str | int]:
    """The `key=value` of --set, checked.

    Raises: UsageError.
    """
    found: dict[str, str | int] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = "root" if key == "amprun_root_directory" else key
        if not equals or key not in KEYS:
            hint = f"--set KEY=VALUE, with one of {', '.join(KEYS)}"
            if key == "passphrase":
                hint = "others could read it on the command line: use --passphrase-file"
            raise UsageError(f"--set {key[:40]}: no such question", hint)
        found[key] = check(key, value)
    return found


def default_place() -> Path:
    """Where a new instance is put: beside the checkout that ampzero runs from, else the current folder."""
    home = Path(__file__).resolve().parent.parent.parent
    return home.parent if (home / ".git").exists() else Path.cwd()


def default_user() -> str:
    """The user's login name, in the letters that a name may have."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = ""
    return re.sub(r"[^\w.@+-]", "", name)[:64] or "user"


def default_root(sudo: bool = False) -> str:
    """amprun_root_directory: the usual one where it can be made (by sudo too), else one of the user's own."""
    if sudo or can_write(Path(DEFAULT_ROOT)):
        return DEFAULT_ROOT
    own = user_root()
    home = Path.home()
    return f"~/{own.relative_to(home)}" if own.is_relative_to(home) else str(own)


def from_settings(name: str, given: dict[str, str | int], before: Answers | None = None) -> Answers:
    """`before` (or new answers for `name`) with what `given` says, by the keys of KEYS."""
    return msgspec.structs.replace(before or Answers(name=name), **given)


def replaced(answers: Answers, *, encrypted: bool | None = None,
             services: tuple[FromService, ...] | None = None) -> Answers:  # fmt: skip
    """`answers` with what is found out after the questions."""
    return msgspec.structs.replace(
        answers,
        encrypted=answers.encrypted if encrypted is None else encrypted,
        services=answers.services if services is None else services,
    )
