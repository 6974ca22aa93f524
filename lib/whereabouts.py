"""Where a running instance keeps itself, remembered apart from its files.

Whoever asks or stops a running instance must reach it although its amprun.yaml was broken, or renamed the
instance, after it was started. One small file an instance, in the user's state folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from lib.config import Config
from lib.errors import AmpzeroError, ConfigError, MissingError, StorageError
from lib.files import make_folder, write_atomic
from lib.instance import CONFIG_NAME, Instance, find
from lib.loader import open_instance
from lib.root import user_root
from lib.running import is_running


def remember(instance: Instance) -> None:
    """Note where `instance` runs; a user without a home that can be written does without."""
    said = {"name": instance.name, "root": str(instance.root), "var_name": instance.var_name}
    with suppress(StorageError, RuntimeError):
        path = _note(instance.config_file)
        make_folder(path.parent, 0o700)
        write_atomic(path, json.dumps(said) + "\n", 0o600)


def open_running(name: str, procfile: str | None = None) -> Instance:
    """The instance that a command line means, for a command about its running self.

    The files count as long as they lead to where it runs; else what was noted at its start.

    Raises: MissingError, ConfigError, StorageError.
    """
    try:
        instance = open_instance(name, procfile)
    except ConfigError:
        known = recall(Path(procfile).resolve() if procfile else find(name) / CONFIG_NAME)
        if known is not None and is_running(known):
            return known
        raise
    if not is_running(instance):
        known = recall(instance.config_file)
        if known is not None and is_running(known):
            return known
    return instance


def open_running_named(
    verb: str, name: str, words: tuple[str, ...], procfile: str | None = None
) -> tuple[Instance, tuple[str, ...]]:
    """The running instance and the services that `ampzero VERB NAME WORDS` means; with a file NAME is one.

    Raises: MissingError, ConfigError, StorageError.
    """
    services = (name, *words) if procfile and name != "." else words
    try:
        return open_running(name, procfile), services
    except MissingError as error:
        if not procfile and (meant := _meant(name)):
            error.hint = f"{meant} is a service of the instance here: ampzero {verb} . {name}"
        raise


def _meant(name: str) -> str:
    """The service of the instance in the current folder that `name` (`web`, `web.2`) is; empty for none."""
    with suppress(AmpzeroError):
        services = open_instance(".").config.services
        return next((known for known in (name, name.rpartition(".")[0]) if known in services), "")
    return ""


def recall(config_file: Path) -> Instance | None:
    """The instance of `config_file` where it was last started; None when nothing usable was noted."""
    try:
        said = json.loads(_note(config_file).read_bytes())
        return Instance(
            name=str(said["name"]), root=Path(said["root"]), var_name=str(said["var_name"]),
            directory=config_file.parent, config_file=config_file, config=Config(),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _note(config_file: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(config_file.absolute())).hexdigest()
    return user_root() / "running" / f"{digest[:32]}.json"
