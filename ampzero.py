#!/usr/bin/env python3
"""ampzero: the command table, and the only place that prints an error and makes it an exit code."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from pathlib import Path

# Our own folder goes first, so that a foreign package called `lib` never shadows ours.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib.bundled import use_bundled

use_bundled(Path(__file__).resolve().parent)


def _with_libraries(clone: Path) -> str:
    """What to type where the libraries are missing; a system's Python takes none itself (PEP 668)."""
    ours = clone / ".venv/bin/ampzero"
    if ours.exists():
        return f"they are in .venv: {shlex.quote(str(ours))}"
    if sys.prefix != sys.base_prefix:
        return f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(str(clone))}"
    place = shlex.quote(str(clone / ".venv"))
    return f"{sys.executable} -m venv {place} && {place}/bin/pip install -e {shlex.quote(str(clone))}"


try:
    import click

    import lib.console as console
    from lib.errors import AmpzeroError, MissingError
except ModuleNotFoundError as missing:
    sys.stderr.write(
        f"ampzero: error: the Python library {missing.name!r} is not installed\n"
        f"hint: {_with_libraries(Path(__file__).resolve().parent)}\n"
    )
    raise SystemExit(5) from None

COMMANDS = {
    "init": "Scaffold an instance: configs, signed keys, a git repository.",
    "run": "Start an instance and watch over it; or stop, restart, ask it.",
    "deploy": "Ship a release to hosts and switch them over together.",
    "rollback": "Go back to the release that was healthy before.",
    "releases": "List what was deployed, when, and how it went.",
    "hosts": "Show the hosts: state, release, clock, free disk.",
    "status": "Show every service, its processes and why one is down.",
    "start": "Start services of a running instance.",
    "stop": "Stop an instance, or some of its services, in order.",
    "quit": "End an instance at once.",
    "restart": "Restart services, at once or one process after the other.",
    "scale": "More or fewer processes of a service, live.",
    "reload": "Apply what changed in the instance's files, and only that.",
    "attach": "Watch a running instance on the full screen; detach at any time.",
    "logs": "Show or follow what services wrote.",
    "metrics": "Print what the processes do and use, as Prometheus text.",
    "call": "Ask another instance by its id, as the instance here.",
    "login": "Print a one-time link that signs a browser in.",
    "keys": "Rotate, revoke, recover and verify keys; certificates for SSH.",
    "keyspace": "Read and write the replicated key-value store.",
    "hub": "Run a hub for users and hosts; ask one; move to another.",
    "nat": "Show the port that the network's gateway leads here; test the gateway.",
    "export": "Write an instance as systemd units, a supervisord.conf or a Procfile.",
    "lab": "Make hosts on this machine to try a deploy on, and take them down.",
    "boot": "Have an instance start with the machine, and again when it dies.",
    "trust": "Have this machine trust its local CA, or not; renew a certificate.",
    "doctor": "Check what the instance needs, and install what is missing.",
    "schema": "Print the JSON Schema of a configuration file.",
    "completion": "Print the script that completes command lines with Tab.",
}
"""The commands in the order of --help; each is `command` in lib/commands/NAME.py, loaded when it is used."""

INTERNAL = ("serve",)
"""Commands that ampzero starts itself with; they are not shown."""

DRIVE = ["drive"]
"""The command line of an agent that has several to run (lib/drive.py)."""

COMPLETE = "_AMPZERO_COMPLETE"
"""Set by the scripts of `ampzero completion` while a shell asks what may come next."""


GARBAGE = 100_000
"""Objects after which garbage is looked for, not 700: most commands end before, and the looks that they are
spared took a tenth of their time."""


class CommandTable(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The visible commands, in the table's order."""
        return [name for name in COMMANDS if (Path(__file__).parent / "lib/commands" / f"{name}.py").exists()]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command `name`, imported now; None when there is none."""
        if name not in INTERNAL and name not in self.list_commands(context):
            return None
        module = __import__(f"lib.commands.{name}", fromlist=["command"])
        command: click.Command = module.command
        if COMPLETE in os.environ:
            from lib import completion

            completion.teach(command, getattr(module, "ACTIONS", ()))
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, which knows no names to suggest, as our commands are not loaded."""
        try:
            return super().resolve_command(context, args)
        except click.exceptions.UsageError as error:
            import difflib

            if near := difflib.get_close_matches(args[0], self.list_commands(context), n=1):
                text = f"No such command {args[0]!r}. Did you mean {near[0]!r}?"
                raise click.UsageError(text, context) from error
            raise

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The table for --help, from COMMANDS alone: nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(context)])


@click.command(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ampzero", message="ampzero %(version)s")
def table() -> None:
    """Run applications of several processes, on a laptop and on your own servers."""


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default sys.argv) and return its exit code; see lib/errors.py for the codes."""
    gc.set_threshold(GARBAGE)
    if (sys.argv[1:] if argv is None else argv) == DRIVE:
        from lib.drive import drive

        return drive(main)
    try:
        result = table.main(args=argv, prog_name="ampzero", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except AmpzeroError as error:
        console.error(error.message, error.hint)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        console.say(error.ctx.get_help() if error.ctx else "see: ampzero --help")
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "ampzero"
        console.error(error.format_message(), f"see: {command} --help")
        return 2
    except click.ClickException as error:
        console.error(error.format_message())
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # The reader of our output went away (as `| head` does): nothing to say, and nobody to say it to.
        sys.stderr.close()
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("lib", "keys", "deploy"):
            raise
        missing = MissingError(
            f"the Python library {error.name!r} is not installed", f"{sys.executable} -m pip install ampzero"
        )
        console.error(missing.message, missing.hint)
        return missing.exit_code


if __name__ == "__main__":
    sys.exit(main())
