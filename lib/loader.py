"""Reads an instance: amprun.yaml (or another supervisor's file) into the frozen model, checked as a whole.

Owns which file is read, and that nothing unchecked becomes an Instance. Writes nothing.
"""

from __future__ import annotations

from pathlib import Path

from lib import yamlfile
from lib.checks.config import check
from lib.config import Config
from lib.errors import ConfigError
from lib.instance import CONFIG_NAME, Instance, find, make_instance

VERBATIM = (("services", "*", "env", "*"),)
EMPTY = (("services",), ("services", "*"), ("logs",))
"""Where a key without a value means an empty mapping: `redis:` is `redis: {}`."""
HINT = "`ampzero schema amprun` tells what each key may be"
"""For an error that says all but where to read on."""


def load_instance(name_or_path: str) -> Instance:
    """The instance of this name, or in this folder.

    Raises: MissingError, ConfigError (`file:line:column: key.path: what`), StorageError.
    """
    directory = find(name_or_path)
    file = directory / CONFIG_NAME
    return make_instance(directory, file, load_config(file))


def load_procfile(path: Path) -> Instance:
    """The instance that a Procfile, or a file of another supervisor, describes; it runs in that folder.

    Raises: MissingError, UsageError (of no known format), ConfigError, StorageError.
    """
    from lib.importers import read
    from lib.importers.instance import instance_of

    return instance_of(read(path.resolve()))


def open_instance(name_or_path: str, procfile: str | None = None) -> Instance:
    """The instance that a command line means: a Procfile when one is given, else NAME.

    Raises: MissingError, ConfigError, StorageError.
    """
    return load_procfile(Path(procfile)) if procfile else load_instance(name_or_path)


def load_config(file: Path) -> Config:
    """An amprun.yaml, typed and checked.

    Raises: ConfigError, StorageError.
    """
    try:
        document = yamlfile.read(file)
        config = document.convert(Config, VERBATIM, EMPTY)
        check(config, document.error)
    except ConfigError as error:
        error.hint = error.hint or HINT
        raise
    return config
