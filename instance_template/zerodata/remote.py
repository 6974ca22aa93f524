#!/usr/bin/env python3
"""Client and shell of this instance's record store; without a command it is a shell.

    remote.py put KIND ID '{"a": 1}' [--version N]      0 = only when it is new
    remote.py get KIND ID
    remote.py delete KIND ID [--version N]
    remote.py query KIND ['a>1' ...] [--order=-a] [--limit 10]

Filters: = != < <= > >= in prefix, as in: 'a>1'  'name prefix x'  'state in [1, 2]'; @id is the record's id.
The store is the one of ZERODATA_URL and ZERODATA_SECRET_FILE, or else that of the running instance.
"""

import argparse
import cmd
import json
import os
import shlex
import sys
from pathlib import Path

INSTANCE = Path(__file__).resolve().parent.parent

try:
    from lib.errors import AmpzeroError, MissingError, UsageError
    from lib.signed import read_secret
    from lib.zerodata.client import ZerodataClient
    from lib.zerodata.query import parse_filter
except ModuleNotFoundError as missing:
    sys.stderr.write(
        f"remote.py: error: {missing.name} is not installed for {sys.executable}\n"
        "hint: use the Python that ampzero is installed in; `ampzero doctor` names it\n"
    )
    raise SystemExit(5) from None


class Parser(argparse.ArgumentParser):
    """A parser that raises, so that a slip in the shell does not end it."""

    def error(self, message: str) -> None:
        """Raises: UsageError."""
        raise UsageError(message, "remote.py --help")


def parser() -> Parser:
    """The command line, which is also the shell's language."""
    top = Parser(prog="remote.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command")
    for name in ("put", "get", "delete"):
        command = commands.add_parser(name)
        command.add_argument("kind")
        command.add_argument("id")
        if name == "put":
            command.add_argument("value", help="a JSON object")
        if name != "get":
            command.add_argument("--version", type=int)
    query = commands.add_parser("query")
    query.add_argument("kind")
    query.add_argument("filters", nargs="*")
    query.add_argument("--order", nargs="?", action="append", default=[], help="a property; -NAME descends")
    query.add_argument("--limit", type=int)
    return top


def arguments(words: list[str]) -> argparse.Namespace:
    """Parse a command. `--order -a` is taken for `--order=-a`, which argparse would refuse."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--order":
            joined[-1] = f"--order={word}"
        else:
            joined.append(word)
    return parser().parse_args(joined)


def run(client: ZerodataClient, given: argparse.Namespace) -> None:
    """Do one command and print its result as JSON, a record a line."""
    if given.command == "put":
        try:
            value = json.loads(given.value)
        except ValueError as error:
            raise UsageError(f"the value is not JSON: {error}") from error
        show({"version": client.put(given.kind, given.id, value, given.version)})
    elif given.command == "get":
        record = client.get(given.kind, given.id)
        if record is None:
            raise MissingError(f"there is no record {given.kind}/{given.id}")
        show(vars(record))
    elif given.command == "delete":
        show({"deleted": client.delete(given.kind, given.id, given.version)})
    elif given.command == "query":
        filters = [parse_filter(text) for text in given.filters]
        for record in client.query(given.kind, filters, given.order, given.limit):
            show(vars(record))


def show(value: object) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, ensure_ascii=False))


def fail(error: AmpzeroError) -> None:
    """Print an error and its hint."""
    sys.stdout.flush()
    hint = f"hint: {error.hint}\n" if error.hint else ""
    sys.stderr.write(f"remote.py: error: {error.message}\n{hint}")


class Shell(cmd.Cmd):
    """The interactive shell: the same commands, with history and completion of their names."""

    prompt = "zerodata> "
    intro = "put, get, delete, query; help, exit"

    def __init__(self, client: ZerodataClient) -> None:
        super().__init__()
        self.client = client

    def default(self, line: str) -> None:
        """Run a line as remote.py would run it as arguments."""
        try:
            run(self.client, arguments(shlex.split(line)))
        except ValueError as error:
            fail(UsageError(f"{error}"))
        except AmpzeroError as error:
            fail(error)
        except SystemExit:
            pass

    def onecmd(self, line: str) -> bool:
        """One line; True ends the shell."""
        word = line.strip()
        if word in ("exit", "quit", "EOF"):
            if word == "EOF":
                print()
            return True
        if word in ("help", "?"):
            print(__doc__)
        elif word:
            self.default(word)
        return False

    def completenames(self, text: str, *ignored: object) -> list[str]:
        """The commands that begin with `text`."""
        return [name for name in ("put", "get", "delete", "query", "help", "exit") if name.startswith(text)]


def connect() -> ZerodataClient:
    """The client of the store that the environment names, or else of the running instance."""
    if "ZERODATA_URL" in os.environ:
        return ZerodataClient.from_environment()
    from lib.loader import load_instance

    instance = load_instance(str(INSTANCE))
    services = instance.config.services
    name = next((name for name, one in services.items() if (one.kind or name) == "zerodata"), "zerodata")
    secret = read_secret(instance.state / "zerodata.secret")
    return ZerodataClient(f"unix:{instance.sockets / name}.sock", secret)


def main(words: list[str]) -> int:
    """Run one command, or the shell. Gives the exit code (docs/exit-codes.md)."""
    try:
        given = arguments(words)
        client = connect()
        if given.command is None:
            Shell(client).cmdloop()
        else:
            run(client, given)
    except AmpzeroError as error:
        fail(error)
        return error.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
