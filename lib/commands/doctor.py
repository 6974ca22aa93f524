"""`ampzero doctor [NAME]`: what an instance needs, what of it is here, and what installs the rest."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default="", metavar="[NAME]")
@click.option("--install", "and_install", is_flag=True, help="Install the programs that are missing.")
@click.option("--yes", is_flag=True, help="Do not ask before installing.")
@click.option("--json", "as_json", is_flag=True, help="All of it, as one JSON object.")
def command(name: str, and_install: bool, yes: bool, as_json: bool) -> int:
    """Check what the instance NAME needs (without NAME: what any instance may need).

    Exit codes: 0 all is there, 5 something is missing, 7 the port is taken, 8 the root directory cannot be
    written.

    \b
    Examples:
      ampzero doctor                  what any instance may need
      ampzero doctor kickass --install --yes
    """
    import os
    import sys

    import lib.console as console
    from lib import doctor
    from lib.loader import load_instance
    from lib.programs.install import install
    from lib.programs.lookup import install_argv, package_manager

    instance = load_instance(name) if name else None
    found = doctor.look_for_programs(instance)
    missing = [one.program for one in found if not one.path]
    if and_install and missing:
        names = ", ".join(program.name for program in missing)
        if yes or not sys.stdin.isatty() or click.confirm(f"Install {names}?", default=True, err=True):
            install(missing)
            found = doctor.look_for_programs(instance)
            missing = [one.program for one in found if not one.path]
    checks = doctor.all_checks(found, instance)
    bad = [check for check in checks if not check.good]
    argv = install_argv(missing, package_manager() or "none", root=os.geteuid() == 0)
    if as_json:
        import json

        rows = [
            {
                "name": check.name,
                "ok": check.good,
                "found": check.found,
                "wanted": check.wanted,
                "fix": check.fix,
            }
            for check in checks
        ]
        console.out(json.dumps({"ok": not bad, "install": argv, "checks": rows}, indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            sign = console.paint("ok", "green") if check.good else console.paint("no", "red")
            wanted = f", wanted: {check.wanted}" if check.wanted and not check.good else ""
            console.out(f"{sign}  {check.name:<{width}}  {check.found}{wanted}")
            if check.fix:
                console.out(f"    {'':<{width}}  -> {check.fix}")
        if argv:
            console.say(f"hint: {' '.join(argv)}  (or: ampzero doctor --install)")
    return bad[0].exit_code if bad else 0
