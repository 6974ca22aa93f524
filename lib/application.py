"""One of the instance's Python applications, a process of its own: `lib/application.py KIND --socket PATH`.

The supervisor starts it so rather than through the command line's table, which would load what a server never
needs. `ampzero serve` is the same for people.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

if __name__ == "__main__":
    # As in ampzero.py: our own folder goes first, so that a foreign `lib` never shadows ours.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from lib.bundled import use_bundled

    use_bundled(Path(__file__).resolve().parent.parent)

KINDS = ("zerodata", "logstore", "ampnode")

LAUNCHER = (sys.executable, "-E", "-P", str(Path(__file__).resolve()))
"""The argv that starts this file; Python's own variables and paths stay out of it."""


def run(kind: str, socket: Path) -> None:
    """Serve the application `kind` of the instance in the current folder at the unix socket `socket`.

    Raises: AmpzeroError.
    """
    # What is loaded stays: no look for garbage among it, neither now nor later.
    gc.disable()
    import lib.serve

    if kind == "ampnode":
        from lib.node.app import create_app

        app: lib.serve.Application = create_app()
    else:
        app = lib.serve.load(Path.cwd() / kind / f"{kind}.py")
    gc.freeze()
    gc.enable()
    lib.serve.serve(app, socket)


def main() -> int:
    """Serve what the command line says; the exit code."""
    import argparse

    from lib import console
    from lib.errors import AmpzeroError

    parser = argparse.ArgumentParser(prog="ampzero application")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--socket", required=True, type=Path)
    given = parser.parse_args()
    try:
        run(given.kind, given.socket)
    except AmpzeroError as error:
        console.error(error.message, error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
