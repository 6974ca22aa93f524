"""`ampzero lab VERB`: hosts on this machine, to try a deploy on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.lab import Lab

LAB = click.option("--name", "lab", default="lab", metavar="LAB", help="The lab, where there are several.")
HOST = click.argument("host", metavar="HOST")


@click.group()
def command() -> None:
    """Hosts on this machine, each with its own address, disk, processes and sshd, to try a deploy on.

    They are namespaces of this Linux kernel: made in a second, and gone without a trace. They have this
    system's nginx, Redis and Python, and no way to the outside. Needs root.

    \b
    Examples:
      ampzero lab up 3                      three hosts, host-1 to host-3
      ampzero lab status
      ampzero lab exec host-1 -- ip address
      ampzero lab kill host-2               as a power cut does
      ampzero lab boot host-2
      ampzero lab cut host-3                as a cut cable does; `mend` mends it
      ampzero lab down
    """


@command.command()
@click.argument("count", type=click.IntRange(min=1), default=3, metavar="[N]")
@LAB
@click.option("--rtt", default="0s", metavar="TIME", help="What a round trip between any two takes: 20ms.")
@click.option("--loss", default="0%", metavar="PERCENT", help="How many packets are lost on a way: 1%.")
@click.option("--opt-size", default="0", metavar="SIZE", help="How much room a host has in /opt: 200M.")
@click.option("--into", metavar="INSTANCE", help="Write the lab into this instance's deployment.yaml.")
@click.option("--json", "as_json", is_flag=True, help="The lab as JSON, as `status` gives it.")
def up(count: int, lab: str, rtt: str, loss: str, opt_size: str, into: str | None, as_json: bool) -> None:
    """Make a lab of N hosts and boot them; they stay until `down`.

    \b
    Examples:
      ampzero lab up 3
      ampzero lab up 5 --rtt 20ms --loss 1%
      ampzero lab up 3 --into kickass       as environment `lab` of its deployment.yaml
      ampzero lab up 2 --name other         a second lab beside the first
    """
    import lib.console as console
    from deploy.lab import Lab
    from deploy.lab.environment import section, write_into
    from lib.duration import seconds
    from lib.loader import open_instance
    from lib.size import size

    file = open_instance(into, None).directory / "deployment.yaml" if into else None
    with Lab.make(lab, count, rtt=seconds(rtt), loss=share(loss), opt_size=size(opt_size)) as made:
        if file is not None:
            write_into(file, made)
        made.keep()
    if as_json:
        show(made, as_json=True)
        return
    console.say(f"{count} hosts: {made.hosts[0].address} to {made.hosts[-1].address}")
    console.say(f"log in with: ssh -F {made.login.config} host-1")
    if file is not None:
        console.say(f"{file} has them as the environment {lab}")
    else:
        console.say("as an environment in deployment.yaml:")
        console.out(f"environments:\n{section(made)}".rstrip())


@command.command()
@LAB
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def status(lab: str, as_json: bool) -> None:
    """Show the hosts: address, power, cable.

    \b
    Examples:
      ampzero lab status
      ampzero lab status --json
    """
    show(find(lab), as_json)


@command.command()
@click.argument("lab", default="lab", metavar="[LAB]")
@click.option("--all", "everything", is_flag=True, help="All labs of this machine that nobody else uses.")
def down(lab: str, everything: bool) -> None:
    """End the hosts of a lab and remove all of it, also what a crash left.

    \b
    Examples:
      ampzero lab down
      ampzero lab down --all
    """
    import lib.console as console
    from deploy.lab.lab import take_down, take_down_all

    for name in take_down_all() if everything else [take_down(lab)]:
        console.say(f"lab {name} is gone")


@command.command(name="exec", context_settings={"ignore_unknown_options": True})
@LAB
@HOST
@click.argument("argv", nargs=-1, required=True, metavar="-- COMMAND [ARGUMENT]...", type=click.UNPROCESSED)
def execute(lab: str, host: str, argv: tuple[str, ...]) -> None:
    """Run a command at a host's console, which needs neither its network nor its sshd.

    \b
    Examples:
      ampzero lab exec host-1 -- ps ax
      ampzero lab exec host-1 -- bash
    """
    import os

    words = find(lab).host(host).console_argv(argv)
    os.execvp(words[0], words)  # noqa: S606 -- in our place, with our terminal, and without a shell


@command.command()
@LAB
@HOST
def kill(lab: str, host: str) -> None:
    """Cut a host's power: nothing on it gets to say goodbye. Its disk stays.

    \b
    Examples:
      ampzero lab kill host-2
    """
    find(lab).host(host).kill()


@command.command()
@LAB
@HOST
def boot(lab: str, host: str) -> None:
    """Give a host power again; returns when its sshd listens.

    \b
    Examples:
      ampzero lab boot host-2
    """
    find(lab).host(host).boot()


@command.command()
@LAB
@HOST
def cut(lab: str, host: str) -> None:
    """Cut a host's cable: it runs on, and hears and says nothing.

    \b
    Examples:
      ampzero lab cut host-3
    """
    find(lab).host(host).cut()


@command.command()
@LAB
@HOST
def mend(lab: str, host: str) -> None:
    """Mend a host's cable.

    \b
    Examples:
      ampzero lab mend host-3
    """
    find(lab).host(host).mend()


def find(name: str) -> Lab:
    """The lab that is meant, on a machine that can have one."""
    from deploy.lab import Lab
    from deploy.lab.tools import check_rights

    check_rights()
    return Lab.find(name)


def share(text: str) -> float:
    """`1%` or `0.5 %` as a share of 1.

    Raises: UsageError.
    """
    import re

    from lib.errors import UsageError

    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%?", text.strip())
    if not found or float(found[1]) > 100:
        raise UsageError(f"--loss {text[:40]!r} is no percentage", "write it like 1% or 0.5%")
    return float(found[1]) / 100


def show(lab: Lab, as_json: bool) -> None:
    """Print a lab: one line a host, or one JSON object."""
    import json

    import lib.console as console

    running = lab.running()
    rows = [
        {
            "name": host.name,
            "address": host.address,
            "power": host.name in running,
            "cable": not host.is_cut,
            "disk": str(host.folder),
        }
        for host in lab.hosts
    ]
    if as_json:
        facts = {"name": lab.name, "subnet": str(lab.network.subnet), "rtt": lab.network.rtt}
        facts |= {"loss": lab.network.loss, "ssh_config": str(lab.login.config)}
        console.out(json.dumps({**facts, "hosts": rows}, indent=2))
        return
    for row in rows:
        power = "running" if row["power"] else console.paint("no power", "red")
        cable = "" if row["cable"] else console.paint("  cable cut", "yellow")
        console.out(f"{row['name']:<10} {row['address']:<15} {power}{cable}")
