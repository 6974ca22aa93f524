"""`ampzero hub root`: the next version of a hub's root note, made, signed and installed."""

from __future__ import annotations

from pathlib import Path

import click

from lib.commands.verbs.hubserver import DATA, DATABASE
from lib.commands.verbs.output import show


@click.group("root")
def root_() -> None:
    """Make the next version of a hub's root note: draft, sign where the root keys are, install."""


@root_.command()
@DATA
@DATABASE
@click.option("--url", default="", metavar="URL", help="The hub's new URL.")
@click.option("--new-online-key", is_flag=True, help="Another key signs statements from then on.")
@click.option("--root-key", "roots", multiple=True, metavar="'ssh-ed25519 AAAA…'",
              help="The root keys in place of those of now; may be given again.")  # fmt: skip
@click.option("--threshold", default=0, type=click.IntRange(0, 5), help="How many of them must sign.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where it is written."
)
def draft(
    folder: Path | None, database: str, url: str, new_online_key: bool, roots: tuple[str, ...],
    threshold: int, out: Path,
) -> int:  # fmt: skip
    """Write the text of the next version to FILE. Nobody has signed it yet."""
    from datetime import UTC, datetime

    import lib.console as console
    from keys import root
    from keys.hub import rootnotes
    from keys.hubclient.reference import check_url
    from keys.hubserver import opening
    from keys.publickey import PublicKey
    from lib.errors import TakenError
    from lib.files import write_new

    where = folder or opening.default_folder()
    current = root.verify(rootnotes.read(where))
    text = rootnotes.draft(
        current, datetime.now(UTC), url=check_url(url) if url else "",
        online=rootnotes.next_online_key(where) if new_online_key else None,
        roots=tuple(PublicKey.parse(line) for line in roots), threshold=threshold,
    )  # fmt: skip
    if not write_new(out, text, 0o644):
        raise TakenError(f"{out} exists", "name another file")
    console.say(
        f"sign it with root keys of version {current.version}, and of the new one: ampzero hub root sign"
    )
    return 0


@root_.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), metavar="FILE")
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), metavar="KEY", help="A root key's file."
)
@click.option("--passphrase-file", metavar="FILE", help="Open the key with the first line of FILE.")
def sign(file: Path, key: Path, passphrase_file: str | None) -> int:
    """Add a root key's signature to the draft in FILE. Needs no hub and no network."""
    from keys import keyfile
    from keys.hub import rootnotes
    from keys.reading import read_passphrase
    from lib.files import write_atomic

    signed = rootnotes.add_signature(file.read_text(), keyfile.load(key, read_passphrase(passphrase_file)))
    write_atomic(file, signed, 0o644)
    return 0


@root_.command()
@DATA
@DATABASE
@click.argument("file", type=click.Path(path_type=Path, exists=True), metavar="FILE")
@click.pass_obj
def install(as_json: bool, folder: Path | None, database: str, file: Path) -> int:
    """Make the note in FILE the newest root. A hub that runs takes it when it is started again."""
    from keys.hub import rootnotes
    from keys.hubserver import opening

    said = rootnotes.install(folder or opening.default_folder(), file.read_text())
    return show(as_json, {"root_version": said.version}, [f"root version {said.version}"])
