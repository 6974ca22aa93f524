"""`ampzero call host-7 /path`: ask another instance, as the instance here."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("host", metavar="HOST")
@click.argument("path", default="/")
@click.option("--from", "name", default=".", metavar="NAME", help="The running instance that calls (default: "
              "the one in this folder).")  # fmt: skip
@click.option("-X", "--method", help="Default: GET, with --data POST.")
@click.option("-d", "--data", help="The body: text, @FILE, or - for the standard input.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="One more header.")
@click.option("--timeout", type=click.FloatRange(0.1, 600), default=30.0, show_default=True,
              help="Seconds for each step.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Status, headers and body as one JSON object.")
def command(
    host: str, path: str, name: str, method: str | None, data: str | None, headers: tuple[str, ...],
    timeout: float, as_json: bool,
) -> int:  # fmt: skip
    """Ask the instance HOST, by its id as host-7, for PATH, over mutual TLS with announced keys.

    The answer's body is printed. It may have a query; encode spaces as %20.

    Exit codes: 0 the status was below 400, 1 it was not, 5 nobody is called HOST or it announces nothing,
    10 the instance here does not run, 11 a key was not the one that is trusted, 12 it cannot be reached.

    \b
    Examples:
      ampzero call host-7 /hello
      ampzero call --from kickass host-7 /orders --data @order.json -H 'Content-Type: application/json'
    """
    import asyncio
    import json

    import lib.console as console
    from lib.contact.client import ContactClient

    body = _body(data)
    sent = dict(_header(each) for each in headers)
    word = (method or ("GET" if data is None else "POST")).upper()
    client = ContactClient(_socket(name))
    answer = asyncio.run(client.call(host, path, method=word, body=body, headers=sent, timeout=timeout))
    if as_json:
        said = {"status": answer.status, "headers": dict(answer.headers), "body": answer.text}
        console.out(json.dumps(said, indent=2))
    elif answer.body:
        end = b"" if answer.body.endswith(b"\n") else b"\n"
        sys.stdout.buffer.write(answer.body + end)
        sys.stdout.buffer.flush()
    if answer.status >= 400:
        console.say(f"{host} answered {answer.status}")
        return 1
    return 0


def _socket(name: str) -> Path:
    """Where the contact process of the running instance `name` listens."""
    from lib.contact.plan import NAME
    from lib.errors import MissingError
    from lib.running import connect
    from lib.whereabouts import open_running

    instance = open_running(name)
    connect(instance)
    socket = instance.sockets / f"{NAME}.sock"
    if not socket.exists():
        raise MissingError(
            f"{instance.name} has no contact process", "see ampzero status: hub; and contact: in amprun.yaml"
        )
    return socket


def _body(data: str | None) -> bytes:
    if data is None:
        return b""
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        from lib.errors import MissingError

        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise MissingError(f"cannot read {data[1:]}: {error.strerror}") from error
    return data.encode(errors="surrogateescape")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"{text[:60]!r} is no header: 'NAME: VALUE'")
    return name.strip(), value.strip()
