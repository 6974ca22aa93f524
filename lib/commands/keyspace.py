"""`ampzero keyspace VERB`: the running instance's key-value store, by hand and from scripts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lib.keyspace.client import KeyspaceClient


class Asked:
    """What stands before the verb; connects when the verb is known to be well written."""

    def __init__(self, name: str, as_json: bool, deadline: float) -> None:
        self.name, self.as_json, self.deadline = name, as_json, deadline

    def client(self) -> KeyspaceClient:
        """The client of the instance that was asked for."""
        from lib.keyspace.client import KeyspaceClient
        from lib.keyspace.locate import find_keyspace

        place = find_keyspace(self.name)
        return KeyspaceClient(place.url, self.deadline, place.credentials)

    def show(self, text: object, **fields: object) -> int:
        """Print a result: `text`, or with --json the `fields`."""
        import lib.console as console

        if self.as_json:
            import json

            console.out(json.dumps(fields))
        elif isinstance(text, bytes):
            # As they are: a value need not be text.
            sys.stdout.flush()
            sys.stdout.buffer.write(text + b"\n")
            sys.stdout.buffer.flush()
        elif text is not None:
            console.out(str(text))
        return 0

    def done(self, was_there: bool, key: str, **fields: object) -> int:
        """The end of a verb that needs the key to be there."""
        if not was_there:
            raise no_such_key(key)
        return self.show(None, ok=True, key=key, **fields)


def no_such_key(key: str) -> Exception:
    """The error for a key that is not there; exit code 1."""
    from lib.errors import AmpzeroError

    return AmpzeroError(f"no such key: {key}")


def shown(value: bytes) -> dict[str, object]:
    """A value for JSON: as text, or where it is not UTF-8 in base64."""
    import base64

    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def given(value: str) -> str | bytes:
    """The value of the command line; `-` stands for the standard input, to the byte."""
    if value != "-":
        return value
    from lib.keyspace.client import MAX_VALUE

    return sys.stdin.buffer.read(MAX_VALUE + 1)


@click.group()
@click.option("-i", "--instance", "name", default="", metavar="NAME",
              help="The instance; default: the one in this folder, else the only one that runs.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Results as JSON.")
@click.option("--deadline", type=click.FloatRange(0.05, 60), default=2.0, metavar="SECONDS",
              show_default=True, help="How long one try may take.")  # fmt: skip
@click.pass_context
def command(context: click.Context, name: str, as_json: bool, deadline: float) -> None:
    """Read and write the key-value store of a running instance.

    A VALUE of - is read from the standard input. Exit codes: 1 no such key, or a test that failed; 10 the
    instance does not run.

    \b
    Examples:
      ampzero keyspace set /colour blue
      ampzero keyspace get /colour
      ampzero keyspace --instance kickass list /
    """
    context.obj = Asked(name, as_json, deadline)


@command.command()
@click.argument("key")
@click.option("--dirty", is_flag=True, help="As the asked member knows it: faster, may be old.")
@click.pass_obj
def get(asked: Asked, key: str, dirty: bool) -> int:
    """Print the value of KEY."""
    client = asked.client()
    value = client.dirtyget(key) if dirty else client.get(key)
    if value is None:
        raise no_such_key(key)
    return asked.show(value, key=key, **shown(value))


@command.command("set")
@click.argument("key")
@click.argument("value")
@click.option("--keep-expiry", is_flag=True, help="Leave the key's expiry; otherwise it stays for good.")
@click.pass_obj
def set_(asked: Asked, key: str, value: str, keep_expiry: bool) -> int:
    """Store VALUE under KEY."""
    asked.client().set(key, given(value), keep_expiry=keep_expiry)
    return asked.show(None, ok=True, key=key)


@command.command("list")
@click.argument("prefix", default="")
@click.option("--values", is_flag=True, help="With their values: KEY, a tab, VALUE.")
@click.option("-n", "--limit", type=click.IntRange(min=0), default=0, help="At most so many (0: all).")
@click.option("-r", "--descending", is_flag=True, help="From the last to the first.")
@click.pass_obj
def list_(asked: Asked, prefix: str, values: bool, limit: int, descending: bool) -> int:
    """Print the keys that begin with PREFIX (default: all); with --json one object a line."""
    client = asked.client()
    if values:
        for key, value in client.listkeyvalues(prefix, limit=limit, descending=descending):
            asked.show(key.encode("utf-8", "surrogateescape") + b"\t" + value, key=key, **shown(value))
        return 0
    for key in client.listkeys(prefix, limit=limit, descending=descending):
        asked.show(key.encode("utf-8", "surrogateescape"), key=key)
    return 0


@command.command()
@click.argument("prefix", default="")
@click.pass_obj
def count(asked: Asked, prefix: str) -> int:
    """Print how many keys begin with PREFIX (default: all)."""
    number = asked.client().count(prefix)
    return asked.show(number, count=number)


@command.command("test-and-set")
@click.argument("key")
@click.argument("test")
@click.argument("value")
@click.option("--absent", is_flag=True, help="Instead: if there is no KEY; then TEST is left unread.")
@click.pass_obj
def test_and_set(asked: Asked, key: str, test: str, value: str, absent: bool) -> int:
    """Store VALUE under KEY if its value is TEST; print true, or print false and exit with 1."""
    done = asked.client().testandset(key, None if absent else test, given(value))
    asked.show("true" if done else "false", ok=done, key=key)
    return 0 if done else 1


@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("key")
@click.argument("number", type=int, default=1)
@click.pass_obj
def add(asked: Asked, key: str, number: int) -> int:
    """Add NUMBER (default 1, may be negative) to the value of KEY and print the sum."""
    total = asked.client().add(key, number)
    return asked.show(total, key=key, value=total)


@command.command()
@click.argument("key")
@click.argument("to")
@click.pass_obj
def rename(asked: Asked, key: str, to: str) -> int:
    """Move KEY to the key TO, replacing that."""
    return asked.done(asked.client().rename(key, to), key, to=to)


@command.command()
@click.argument("key")
@click.pass_obj
def delete(asked: Asked, key: str) -> int:
    """Delete KEY."""
    return asked.done(asked.client().delete(key), key)


@command.command()
@click.argument("key")
@click.pass_obj
def remove(asked: Asked, key: str) -> int:
    """Delete KEY and print the value that it had."""
    value = asked.client().remove(key)
    if value is None:
        raise no_such_key(key)
    return asked.show(value, key=key, **shown(value))


@command.command()
@click.argument("prefix")
@click.pass_obj
def prune(asked: Asked, prefix: str) -> int:
    """Delete every key that begins with PREFIX ("" for all) and print how many there were."""
    number = asked.client().prune(prefix)
    return asked.show(number, deleted=number)


@command.command("set-expiry")
@click.argument("key")
@click.argument("after", metavar="DURATION")
@click.pass_obj
def set_expiry(asked: Asked, key: str, after: str) -> int:
    """Let KEY vanish after DURATION (as 90s, 5m, 2h; two seconds at least)."""
    from lib.duration import seconds
    from lib.errors import ConfigError, UsageError

    try:
        number = seconds(after)
    except ConfigError as error:
        raise UsageError(error.message, error.hint) from error
    return asked.done(asked.client().setexpiry(key, number), key)


@command.command("remove-expiry")
@click.argument("key")
@click.pass_obj
def remove_expiry(asked: Asked, key: str) -> int:
    """Let KEY stay for good."""
    return asked.done(asked.client().removeexpiry(key), key)


@command.command("clear-expiries")
@click.argument("prefix", default="")
@click.pass_obj
def clear_expiries(asked: Asked, prefix: str) -> int:
    """Let every key that begins with PREFIX (default: all) stay for good; print how many had an expiry."""
    number = asked.client().clearexpiries(prefix)
    return asked.show(number, cleared=number)


@command.command()
@click.pass_obj
def master(asked: Asked) -> int:
    """Print the name of the member that leads."""
    name = asked.client().getmaster()
    if not name:
        from lib.errors import NotReadyError

        raise NotReadyError("keyspace has no master just now", "try again in a moment")
    return asked.show(name, master=name)
