"""`ampzero hosts NAME`: how the hosts of an environment are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from deploy.fleet import Member


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="Which hosts; not needed where there is one."
)
@click.option("--config", type=click.Path(), help="Another file in place of deployment.yaml.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object, by host.")
def command(name: str, environment: str | None, config: str | None, as_json: bool) -> int:
    """The hosts of the instance NAME: state, release and since when, clock, free disk.

    Exit codes: 0 all hosts answer, 3 some do not.

    \b
    Examples:
      ampzero hosts kickass
      ampzero hosts kickass --env production --json
    """
    import json

    import lib.console as console
    from lib.commands.deploy import PARTLY, opened

    with opened(name, environment, config, None, signs=False) as work:
        with work.coordinator.fleet() as fleet:
            fleet.connect()
        work.view.close()
        if as_json:
            console.out(json.dumps({member.name: _described(member) for member in fleet.members}))
        else:
            rows: list[tuple[str, ...]] = [("HOST", "STATE", "RELEASE", "SINCE", "CLOCK", "FREE", "")]
            rows += [_row(member) for member in fleet.members]
            widths = [max(len(row[column]) for row in rows) for column in range(6)]
            for row in rows:
                line = "  ".join(f"{text:{width}}" for text, width in zip(row[:6], widths, strict=True))
                console.out(f"{line}  {row[6]}".rstrip())
        return PARTLY if fleet.lost else 0


def _row(member: Member) -> tuple[str, ...]:
    from lib.commands.deploy import human

    if member.error:
        return (
            member.name,
            "unreachable",
            "",
            "",
            "",
            "",
            member.error.message.removeprefix(f"{member.name}: "),
        )
    facts = member.facts
    why = ""
    if facts.pending:
        why = f"{facts.pending.release} is {facts.pending.state.lower()}"
        why += f": {facts.pending.error}" if facts.pending.error else ""
    release = facts.current.release if facts.current else ""
    state = facts.state if facts.root_exists else "not set up"
    return (member.name, state, release, facts.since[:16].replace("T", " "), f"{member.skew:+.1f} s",
            human(facts.disk_free), why)  # fmt: skip


def _described(member: Member) -> dict[str, Any]:
    import msgspec

    if member.error:
        return {"state": "unreachable", "error": member.error.message}
    said = {**msgspec.to_builtins(member.facts), "skew": round(member.skew, 3)}
    del said["settings"]  # certificates: long, and of no use to a reader
    return said
