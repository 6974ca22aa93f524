#!/usr/bin/env python3
"""Client and shell of this instance's log store; without a command it is a shell.

    remote.py search [TEXT] [--service web] [--stream err] [--since 5m] [--until 1m] [-n 100] [--json]
    remote.py tail [TEXT] [--service web] [--stream err] [--json]       until Ctrl-C
    remote.py histogram [TEXT] [--service web] [--since 1h] [--bucket 60]
    remote.py sources

TEXT is plain text; the case of ASCII letters does not matter. --service takes `web` or `web.2` and may be
repeated, as may --stream. --since and --until take 90s, 5m, 2h, 1d, or 2026-11-20T21:05.
The store is the one of LOGSTORE_URL and LOGSTORE_SECRET_FILE, or else that of the running instance.
"""

import argparse
import cmd
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

INSTANCE = Path(__file__).resolve().parent.parent

try:
    from lib.errors import AmpzeroError, UsageError
    from lib.logs.record import Record, stamp, unix
    from lib.logs.show import Text, json_line
    from lib.logstore.client import LogstoreClient
    from lib.logstore.wire import Query
    from lib.signed import read_secret
except ModuleNotFoundError as missing:
    sys.stderr.write(
        f"remote.py: error: {missing.name} is not installed for {sys.executable}\n"
        "hint: use the Python that ampzero is installed in; `ampzero doctor` names it\n"
    )
    raise SystemExit(5) from None

COMMANDS = ("search", "tail", "histogram", "sources", "help", "exit")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TAIL_EVERY = 0.5
TAIL_PAGE = 20_000
"""Records that one look takes at most."""
TAIL_BACK = 10.0
"""Seconds that a record may reach the store after one with a later time."""


class Parser(argparse.ArgumentParser):
    """A parser that raises, so that a slip in the shell does not end it."""

    def error(self, message: str) -> None:
        """Raises: UsageError."""
        raise UsageError(message, "remote.py --help")


def parser() -> Parser:
    """The command line, which is also the shell's language."""
    top = Parser(prog="remote.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command")
    commands.add_parser("sources")
    for name in ("search", "tail", "histogram"):
        command = commands.add_parser(name)
        command.add_argument("text", nargs="?", default="")
        command.add_argument("--service", action="append", default=[])
        command.add_argument("--stream", action="append", default=[], choices=["out", "err", "sys"])
        command.add_argument("--since", default="")
        command.add_argument("--until", default="")
        if name == "histogram":
            command.add_argument("--bucket", type=int, default=0, help="seconds")
        else:
            command.add_argument("-n", "--lines", type=int, default=100 if name == "search" else 10)
            command.add_argument("--json", action="store_true")
    return top


def moment(text: str) -> str:
    """The time that --since or --until means; empty for none. Raises: UsageError."""
    if not text:
        return ""
    try:
        if found := re.fullmatch(r"(\d{1,9})([smhd])", text):
            return stamp(time.time() - int(found[1]) * UNITS[found[2]])
        return stamp(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"not a time: {text!r}", "as 90s, 5m, 2h, 1d, or 2026-11-20T21:05") from error


def run(client: LogstoreClient, given: argparse.Namespace) -> None:
    """Do one command and print its result."""
    if given.command == "sources":
        for instance, service in client.sources():
            print(f"{instance} {service}")
        return
    query = Query(
        text=given.text, names=tuple(given.service), streams=tuple(given.stream),
        since=moment(given.since), until=moment(given.until),
    )  # fmt: skip
    if given.command == "histogram":
        seconds, buckets = client.histogram(replace(query, bucket=given.bucket))
        for start, counts in buckets:
            print(json.dumps({"time": start, "seconds": seconds, "counts": counts}, ensure_ascii=False))
        return
    most = given.lines if given.command == "search" else max(given.lines, TAIL_PAGE)
    newest = list(client.search_all(query, most))[::-1]
    show(newest[len(newest) - min(given.lines, len(newest)) :], given.json)
    if given.command == "tail":
        tail(client, query, newest, given.json)


def tail(client: LogstoreClient, query: Query, known: list[Record], as_json: bool) -> None:
    """Print what comes to the store after `known`. Looks back a little each time: services arrive apart."""
    last = known[-1].time if known else stamp(time.time())
    seen = {(record.service, record.sequence): record.time for record in known}
    while True:
        time.sleep(TAIL_EVERY)
        since = max(query.since, stamp(unix(last) - TAIL_BACK))
        found = list(client.search_all(replace(query, since=since), TAIL_PAGE))[::-1]
        fresh = [record for record in found if (record.service, record.sequence) not in seen]
        show(fresh, as_json)
        last = max([last, *(record.time for record in fresh)])
        seen |= {(record.service, record.sequence): record.time for record in fresh}
        seen = {key: when for key, when in seen.items() if when >= since}


def show(records: Iterable[Record], as_json: bool) -> None:
    """Print records, the oldest first."""
    render = json_line if as_json else Text(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    sys.stdout.buffer.writelines(map(render, records))
    sys.stdout.buffer.flush()


def fail(error: AmpzeroError) -> None:
    """Print an error and its hint."""
    sys.stdout.flush()
    hint = f"hint: {error.hint}\n" if error.hint else ""
    sys.stderr.write(f"remote.py: error: {error.message}\n{hint}")


class Shell(cmd.Cmd):
    """The interactive shell: the same commands, with history and completion of their names."""

    prompt = "logstore> "
    intro = ", ".join(COMMANDS)

    def __init__(self, client: LogstoreClient) -> None:
        super().__init__()
        self.client = client

    def default(self, line: str) -> None:
        """Run a line as remote.py would run it as arguments."""
        try:
            run(self.client, parser().parse_args(shlex.split(line)))
        except ValueError as error:
            fail(UsageError(f"{error}"))
        except AmpzeroError as error:
            fail(error)
        except KeyboardInterrupt:
            print()
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
        return [name for name in COMMANDS if name.startswith(text)]


def connect() -> LogstoreClient:
    """The client of the store that the environment names, or else of the running instance."""
    if "LOGSTORE_URL" in os.environ:
        return LogstoreClient.from_environment()
    from lib.loader import load_instance

    instance = load_instance(str(INSTANCE))
    services = instance.config.services
    name = next((name for name, one in services.items() if (one.kind or name) == "logstore"), "logstore")
    secret = read_secret(instance.state / "logstore.secret")
    return LogstoreClient(f"unix:{instance.sockets / name}.sock", secret)


def main(words: list[str]) -> int:
    """Run one command, or the shell. Gives the exit code (docs/exit-codes.md)."""
    try:
        given = parser().parse_args(words)
        client = connect()
        if given.command is None:
            Shell(client).cmdloop()
        else:
            run(client, given)
    except AmpzeroError as error:
        fail(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
