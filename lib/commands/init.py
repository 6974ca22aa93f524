"""`ampzero init`: asks its questions, and makes an instance step by step."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lib import console

if TYPE_CHECKING:
    from keys.identities import Identities
    from lib.importers.base import Imported
    from lib.init.answers import Answers

PARTLY_DONE = 3


@click.command()
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing; take the defaults.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE",
              help="Answer a question: port, root, hub, user.")  # fmt: skip
@click.option("--dir", "directory", metavar="DIR", help="Make the instance's folder in DIR.")
@click.option("--clobber", is_flag=True, help="Write the generated files again, merged with your changes.")
@click.option("--from", "source", metavar="FILE", help="Take the services of a Procfile, circus.ini, "
              "supervisord.conf, process-compose.yaml or compose.yaml.")  # fmt: skip
@click.option("--format", "form", metavar="FORMAT", help="The format of FILE: procfile, circus, supervisord, "
              "process-compose or compose, where its name and content do not tell.")  # fmt: skip
@click.option("--passphrase-file", metavar="FILE", help="Encrypt the keys with the first line of FILE.")
@click.option(
    "--hub", metavar="URL#FINGERPRINT", help="The hub that gives the ids; default: local, inside ampzero."
)
@click.option("--invite", default="", metavar="WORD", help="An invite, where the hub wants one.")
def command(
    name: str, yes: bool, pairs: tuple[str, ...], directory: str | None, clobber: bool, source: str | None,
    form: str | None, passphrase_file: str | None, hub: str | None, invite: str,
) -> int:  # fmt: skip
    """Scaffold the instance NAME: configs, keys signed by a hub, a git repository.

    \b
    Examples:
      ampzero init kickass                       asks its questions, then makes ./kickass
      ampzero init kickass --yes --set port=8443
      ampzero init shop --from docker-compose.yaml
      ampzero init kickass --hub https://hub.example#FINGERPRINT --invite WORD
    """
    from lib.commands.run import import_file
    from lib.errors import UsageError
    from lib.init import answers

    given = answers.settings((*pairs, f"hub={hub}") if hub is not None else pairs)
    imported = import_file(source, form)[0] if source else None
    if clobber:
        if hub is not None:
            raise UsageError("--clobber never touches keys", f"ampzero hub move {name} {hub}")
        return _clobber(name, directory, given, imported, passphrase_file)
    answers.check_name(name)
    asking = not yes and sys.stdin.isatty() and sys.stderr.isatty()
    return _init(name, directory, given, imported, passphrase_file, asking, invite)


def _init(
    name: str, directory: str | None, given: dict[str, str | int], imported: Imported | None,
    passphrase_file: str | None, asking: bool, invite: str,
) -> int:  # fmt: skip
    from keys.datafolder import pending_folder
    from keys.hubs import named_hub
    from keys.identities import create_identities
    from keys.tls.certifying import make_first, remember_first
    from lib.errors import AmpzeroError, TakenError
    from lib.init import answers, scaffold
    from lib.loader import load_instance

    place = Path(directory) if directory is not None else answers.default_place()
    if asking and directory is None:
        place = Path(_ask("place (the folder to make it in)", str(place))).expanduser()
    try:
        target = scaffold.check_place(place, name)
    except TakenError:
        target = place.resolve() / name
        if (target / "ampnode/hub.public.key").exists():
            # A kill may have come right after its rename: it has these ids, the next one must get others.
            _forget(pending_folder(target))
        raise
    services = scaffold.services_from(imported, target) if imported else ()
    chosen = _answers(name, given, asking)
    passphrase = _passphrase(passphrase_file, asking)
    chosen = answers.replaced(chosen, encrypted=bool(passphrase), services=services)
    with scaffold.staged(target) as folder:
        scaffold.render(folder, chosen)
        made = scaffold.write_variables(folder, imported) if imported else []
        scaffold.prove(folder)
        scaffold.make_root(chosen.root)
        pending = pending_folder(target)
        identities = create_identities(
            folder / "ampnode",
            hub=named_hub(chosen.hub),
            pending=pending,
            passphrase=passphrase,
            invite=invite,
        )
        make_first(folder, name, passphrase)
        scaffold.commit(folder, chosen)
        scaffold.place(folder, target)
    _forget(pending)
    with suppress(AmpzeroError):  # the first run looks itself
        remember_first(load_instance(str(target)))
    _report(target, chosen, identities)
    for file in made:
        console.say(f"{target / file} has the variables that came from outside of the file; it is not in git")
    return 0


def _forget(pending: Path) -> None:
    """The unfinished keys are in place now; another init may find that at the same time."""
    from keys.identities import finish_pending
    from lib.errors import StorageError

    try:
        finish_pending(pending)
    except StorageError:
        if pending.exists():
            raise


def _answers(name: str, given: dict[str, str | int], asking: bool) -> Answers:
    """The answers of --set, of the terminal, or the defaults."""
    from lib.init import answers

    sudo = asking and _has_sudo()
    defaults: dict[str, str | int] = {
        "port": 8040,
        "root": answers.default_root(sudo),
        "hub": answers.LOCAL_HUB,
        "user": answers.default_user(),
    }
    labels = {
        "port": "port",
        "root": "root directory (logs, data, sockets)",
        "hub": "hub",
        "user": "user name",
    }
    for key, default in defaults.items():
        if key not in given:
            given[key] = answers.check(key, _ask(labels[key], str(default), key) if asking else str(default))
    if asking and sudo:
        given["root"] = _root_by_sudo(str(given["root"]))
    return answers.from_settings(name, given)


def _ask(label: str, default: str, key: str = "") -> str:
    """One question; asked again until the answer is good."""
    from lib.errors import UsageError
    from lib.init import answers

    while True:
        text = str(click.prompt(label, default=default, err=True))
        try:
            if key:
                answers.check(key, text)
            return text
        except UsageError as error:
            console.error(error.message, error.hint)


def _passphrase(file: str | None, asking: bool) -> str:
    """The passphrase for the keys; empty for none."""
    from lib.commands.verbs.keyring import new_passphrase, passphrase_in

    if file is not None:
        return passphrase_in(Path(file))
    return new_passphrase() if asking else ""


def _has_sudo() -> bool:
    import os
    import shutil

    return os.geteuid() != 0 and shutil.which("sudo") is not None


def _root_by_sudo(root: str) -> str:
    """`root`, made by sudo if the user wants it and it needs that; else a folder of the user's own."""
    import os

    from lib.init import answers
    from lib.root import can_write

    path = Path(root).expanduser()
    if not path.is_absolute() or can_write(path):
        return root
    if click.confirm(f"make {path} with sudo?", default=True, err=True):
        done = subprocess.run(["sudo", "mkdir", "-p", "--", str(path)], check=False)
        owner = f"{os.geteuid()}:{os.getegid()}"
        if done.returncode == 0:
            done = subprocess.run(["sudo", "chown", owner, "--", str(path)], check=False)
        if done.returncode == 0:
            return root
        console.warn(f"sudo could not make {path}")
    own = answers.default_root()
    console.say(f"root directory: {own}")
    return own


def _clobber(
    name: str, directory: str | None, given: dict[str, str | int], imported: Imported | None,
    passphrase_file: str | None,
) -> int:  # fmt: skip
    from keys.tls.certifying import make_first
    from lib import instance
    from lib.errors import UsageError
    from lib.init import answers, scaffold
    from lib.init import clobber as clobbering

    if passphrase_file is not None:
        raise UsageError("--clobber never touches keys", "leave --passphrase-file away")
    target = instance.find(str(Path(directory) / name) if directory is not None else name)
    chosen = clobbering.first_answers(target)
    chosen = answers.from_settings(chosen.name, given, chosen)
    if imported:
        chosen = answers.replaced(chosen, services=scaffold.services_from(imported, target))
        scaffold.write_variables(target, imported)
    outcome = clobbering.clobber(target, chosen)
    if (target / "nginx").is_dir() and not (target / "nginx/server.cert").exists():
        make_first(target, chosen.name)
    for label, names in (
        ("written", outcome.written),
        ("merged with your changes", outcome.merged),
        ("deleted by you, left so", outcome.removed),
    ):
        for path in names:
            console.out(f"{label}: {path}")
    for path in outcome.conflicts:
        console.warn(
            f"{path}: your changes and the new version touch the same lines; yours is kept",
            f"take over what you want from {target / path}{clobbering.NEW}, then remove it",
        )
    if outcome.commit:
        console.out(f"committed as {outcome.commit}; undo: git -C {target} reset --hard HEAD~1")
    else:
        console.out(f"{target}: nothing to change")
    return PARTLY_DONE if outcome.conflicts else 0


def _report(target: Path, chosen: Answers, identities: Identities) -> None:
    """What was made, where the keys are, and what to do next."""
    from lib import instance

    console.out(f"made the instance {target}")
    console.out(f"ids: {identities.user_id}, {identities.host_id} (hub {identities.hub})")
    console.out(f"root directory: {chosen.root}")
    if identities.encrypted:
        console.out(
            "private keys: encrypted with your passphrase, committed to git; control keys are not in git"
        )
    else:
        console.out("private keys: no passphrase, so they and the control keys are not in git")
    console.say(f"back up {target}/ampnode/*.key now: nobody can make them again")
    known = any(folder == target for folder in instance.candidates(chosen.name))
    shown = chosen.name if known else str(target)
    console.out("next:")
    page = "" if chosen.services else f"             # then https://localhost:{chosen.port}"
    console.out(f"    ampzero run {shown}{page}")
    console.out(f"    ampzero run {shown} status")
    console.out(f"    ampzero run {shown} stop")
