"""An instance: its own folder, its configuration, and where its running parts live.

Owns the paths. Reads no file and makes no folder; it only looks which folders are there.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.config import Config
from lib.errors import ConfigError, MissingError
from lib.root import is_writable_text, root_directory

CONFIG_NAME = "amprun.yaml"
RELEASE_FOLDER = re.compile("(.+)-[0-9a-f]{16}")
"""A release's folder on a host; the link to the one that is live stands beside it, by the name before."""
SOCKET_PATH_MAX = 107
"""Bytes of a unix socket's path: sun_path of unix(7) less its final zero."""
LONGEST_SOCKET = len("/notify-.1000.sock") + 32
"""Room for the longest socket name that a service makes below the folder."""


@dataclass(frozen=True)
class Instance:
    """One instance. `directory` is absolute; `config_file` is the file that `config` was read from.

    `root` is amprun_root_directory as resolved by the loader; `var_name` the instance's folder in it (its
    name, or where the name was only guessed from the folder's, the name with a digest of the path).
    """

    name: str
    root: Path
    var_name: str
    directory: Path
    config_file: Path
    config: Config

    @property
    def var(self) -> Path:
        """Where everything that changes while it runs is kept: logs, data, state, rendered files."""
        return self.root / self.var_name

    @property
    def logs(self) -> Path:
        """A folder a service, holding its log segments (docs/logs.md)."""
        return self.var / "logs"

    @property
    def data(self) -> Path:
        """A folder a service, for what it must keep."""
        return self.var / "data"

    @property
    def conf(self) -> Path:
        """Configuration files as rendered for this run; 0700, they may hold secrets."""
        return self.var / "conf"

    @property
    def state(self) -> Path:
        """What the tool itself remembers: ports, the session key, one-time links; 0700."""
        return self.var / "state"

    @property
    def run(self) -> Path:
        """The lock and the pid files; 0700."""
        return self.var / "run"

    @property
    def sockets(self) -> Path:
        """The 0700 folder of the unix sockets: `run`, or a short one where that path is too long."""
        if len(os.fsencode(self.run)) + LONGEST_SOCKET <= SOCKET_PATH_MAX:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.var)).hexdigest()[:16]
        return Path(f"/tmp/ampzero-{os.getuid()}") / digest  # noqa: S108 -- made 0700 and checked by its user


def make_instance(directory: Path, file: Path, config: Config) -> Instance:
    """The Instance of a configuration that was read from `file` for the folder `directory`.

    Raises: ConfigError for a folder whose name other programs' files cannot hold.
    """
    root = root_directory(config.amprun_root_directory, directory)
    for path in (file, root):
        if not is_writable_text(str(path)):
            raise ConfigError(
                f"{str(path)!a}: a control character (as a new line), or not UTF-8, in a folder's name",
                "nginx, redis and others could not be told of it: rename the folder",
            )
    guessed = re.sub(r"[^a-z0-9_-]+", "-", directory.name.lower()).strip("-_")
    guessed = re.sub(r"^(?=[^a-z])", "i-", guessed or "instance")[:32]
    name = config.name or guessed
    var_name = name
    if config.name is None:
        # Two folders can have the same last name; what they keep must not be mixed.
        digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:8]
        var_name = f"{name[:23]}-{digest}"
    return Instance(
        name=name, root=root, var_name=var_name,
        directory=directory, config_file=file, config=config,
    )  # fmt: skip


def candidates(name: str) -> list[Path]:
    """Where `name` may be: as a path, beside the checkout that runs, in the current folder."""
    home = Path(__file__).resolve().parent.parent
    places = [Path(name)]
    if "/" not in name and name not in (".", ".."):
        if (home / ".git").exists():
            places.append(home.parent / name)
        places.append(Path.cwd() / name)
    return [located(place) for place in places]


def located(place: Path) -> Path:
    """`place`, absolute and without links; a live release's folder is meant by the link to it, so that
    what runs there stays the same instance."""
    folder = place.resolve()
    if match := RELEASE_FOLDER.fullmatch(folder.name):
        link = folder.with_name(match[1])
        if link.is_symlink() and link.resolve() == folder:
            return link
    return folder


def find(name: str) -> Path:
    """The folder of the instance `name` (a path, or a name looked up beside the checkout and here).

    Raises: MissingError.
    """
    try:
        places = candidates(name) if name else []
        for place in places:
            if (place / CONFIG_NAME).is_file():
                return place
    except (OSError, ValueError) as error:  # too long, a zero byte, a folder that may not be entered
        raise MissingError(
            f"no instance {name[:60]!r}: {getattr(error, 'strerror', error)}",
            "give a name, or a folder's path",
        ) from error
    looked = ", ".join(dict.fromkeys(str(place) for place in places)) or "an empty name"
    what = "in this folder" if name == "." else repr(name)
    raise MissingError(f"no instance {what}: no {CONFIG_NAME} in {looked}", _instead(name, places))


def _instead(name: str, places: list[Path]) -> str:
    """What whoever typed the wrong `name` may have meant, as a hint."""
    if name == "." and (procfile := Path("Procfile")).is_file():
        return f"{procfile} is run by adding -f {procfile}"
    if name not in ("", ".", "..") and Path(name).is_file():
        return f"a file is named by an option: --file {shlex.quote(name)}"
    folders = {place.parent for place in places}
    with suppress(OSError):
        there = [entry.parent.name for folder in folders for entry in folder.glob(f"*/{CONFIG_NAME}")]
        if near := difflib.get_close_matches(name, there, n=1):
            return f"did you mean {near[0]}?"
    if name in (".", "..") or not name:
        return "name an instance, or make one with: ampzero init NAME"
    return f"make one with: ampzero init {shlex.quote(name)}"
