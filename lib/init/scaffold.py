"""Makes an instance's folder: rendered beside its place under a hidden name, and renamed when it is whole.

Owns the folder's life: the hidden folder and its lock, what is rendered, the first commit, the rename.
Keys and certificates are put in between by the caller (lib/commands/init.py), as `lib` does not know them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lib import envfile, loader, schema, template
from lib.errors import MissingError, StorageError, TakenError, UsageError
from lib.files import locked, make_folder, storage_errors, sync_folder, write_new
from lib.init.answers import Answers, FromService
from lib.init.git import Git
from lib.instance import CONFIG_NAME
from lib.root import can_write, is_writable_text

if TYPE_CHECKING:
    from lib.importers.base import Imported

TEMPLATE = Path(__file__).resolve().parent.parent.parent / "instance_template"
HIDDEN = ".ampzero-init."
ANSWERS = "Ampzero-Answers: "
TREE = "Ampzero-Tree: "
"""They mark a commit whose files are exactly as generated: the answers they were made of, and its tree."""


def check_place(place: Path, name: str) -> Path:
    """The folder to be made; what can be known to be in the way is an error before anything is done.

    Raises: MissingError, TakenError, StorageError.
    """
    with storage_errors(place):
        if not place.is_dir():
            if place.exists():
                raise UsageError(f"{place} is not a folder", "choose another place with --dir")
            raise MissingError(f"no folder {place}", f"mkdir -p {place}, or choose another place with --dir")
        target = place.resolve() / name
        if not is_writable_text(str(target)):
            raise UsageError(
                f"{str(place)!a}: a control character, or not UTF-8, in its name",
                "choose another place with --dir",
            )
        if (target / CONFIG_NAME).exists():
            raise TakenError(
                f"the instance {target} exists",
                f"start it with: ampzero run {target}; write its generated files again with --clobber",
            )
        if target.is_symlink() or target.exists():
            raise TakenError(f"{target} exists and is no instance", "choose another name, or move it away")
    return target


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, removed at the end if it was not renamed away.

    It is locked as long as its maker lives, so there is one at a time for a name; the ones that killed
    makers left are removed first.

    Raises: StorageError, TakenError.
    """
    folder = target.with_name(f"{HIDDEN}{target.name}")
    try:
        # Under the parent's lock, as another init could take a folder that is not locked yet for a left one.
        with storage_errors(target.parent), locked(target.parent):
            _sweep(target.parent)
            if folder.exists():
                raise TakenError(
                    f"another init of {target} is at work",
                    f"wait until it is done; or see what is in {folder}",
                )
            if target.is_symlink() or target.exists():
                raise TakenError(f"{target} was made by another meanwhile", "choose another name")
            folder.mkdir(mode=0o700)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except StorageError as error:
        raise StorageError(error.message, "choose another place with --dir") from error
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{HIDDEN}*"):
        if left.is_symlink() or not left.is_dir() or left.stat().st_uid != os.geteuid():
            continue
        handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(handle)


def render(folder: Path, answers: Answers) -> list[str]:
    """Write the generated files into `folder`; their paths.

    Raises: ConfigError, StorageError.
    """
    return template.render_tree(TEMPLATE, folder, msgspec.structs.asdict(answers))


def prove(folder: Path) -> None:
    """Load the configuration back, as `run` and the node runtime will.

    Raises: ConfigError, StorageError.
    """
    from lib.node.config import load_config

    loader.load_config(folder / CONFIG_NAME)
    load_config(folder / "ampnode/ampnode.yaml")


def commit(folder: Path, answers: Answers) -> None:
    """The git repository and its first commit.

    Raises: GitError, MissingError, StorageError.
    """
    Git(folder, answers.user).start(lambda tree: message(f"Scaffold {answers.name}", answers, tree))
    schema.install(folder)


def place(folder: Path, target: Path) -> None:
    """Move the whole folder to its place, in one step.

    Raises: TakenError, StorageError.
    """
    umask = os.umask(0)
    os.umask(umask)
    with storage_errors(target):
        folder.chmod(0o755 & ~umask)
        if target.is_symlink() or target.exists():
            raise TakenError(f"{target} was made by another meanwhile", "choose another name")
        folder.rename(target)
        sync_folder(target.parent)


def message(title: str, answers: Answers, tree: str) -> str:
    """The message of a commit of `tree` that records `answers`."""
    record = json.dumps(msgspec.to_builtins(answers))  # in their order, which the file keeps
    return f"{title}\n\n{ANSWERS}{record}\n{TREE}{tree}\n"


def recorded(text: str, tree: str) -> Answers | None:
    """The answers in a commit message that `message` made for `tree`; None where it did not."""
    lines = text.splitlines()
    if f"{TREE}{tree}" not in lines:
        return None
    try:
        records = [line.removeprefix(ANSWERS) for line in lines if line.startswith(ANSWERS)]
        return msgspec.json.decode(records[-1], type=Answers)
    except (IndexError, msgspec.MsgspecError):
        return None


def services_from(imported: Imported, target: Path) -> tuple[FromService, ...]:
    """The services that were read from another supervisor's file, for the instance in `target`.

    Their paths are made relative to it; variables that came from outside of the file are left for
    `write_variables`, as amprun.yaml is in git.
    """
    source = Path(os.path.relpath(imported.file.resolve().parent, target))
    services = []
    for name, values in imported.services.items():
        here = dict(values)
        here["cwd"] = str(source / Path(here.get("cwd", ".")))
        files = here.get("env_file", [])
        files = [str(source / Path(each)) for each in ([files] if isinstance(files, str) else files)]
        if imported.secrets.get(name):
            files.append(variables_file(name))
        if files:
            here["env_file"] = files[0] if len(files) == 1 else files
        services.append(FromService(name=name, values=here))
    return tuple(services)


def variables_file(service: str) -> str:
    """The file in the instance, kept out of git, with the variables that an import took from outside."""
    return f".env.{service}"


def write_variables(folder: Path, imported: Imported) -> list[str]:
    """Write the variables that came from outside of an imported file; the files that are there stay.

    Raises: StorageError.
    """
    made = []
    for name, variables in imported.secrets.items():
        path = folder / variables_file(name)
        if variables and write_new(path, envfile.text(variables)):
            made.append(path.name)
    return made


def make_root(root: str) -> None:
    """Make amprun_root_directory; one that is relative to the instance is made when it runs.

    Raises: StorageError.
    """
    path = Path(root).expanduser()
    if path.is_absolute():
        make_folder(path)
        if not can_write(path):
            raise StorageError(
                f"cannot write amprun_root_directory {path}",
                f"sudo chown $(id -u) {path}, or --set root=~/.local/state/ampzero",
            )
