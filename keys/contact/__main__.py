"""The contact process of an instance; the supervisor starts it: `keys/contact --socket PATH --port N`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# As in ampzero.py: our own folder goes first, so that a foreign `lib` never shadows ours.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lib.bundled import use_bundled

use_bundled(Path(__file__).resolve().parent.parent.parent)


def main() -> int:
    """Serve until SIGTERM; the exit code."""
    from lib import console
    from lib.errors import AmpzeroError

    parser = argparse.ArgumentParser(prog="ampzero contact")
    parser.add_argument("--socket", required=True, type=Path)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--address", action="append", default=[])
    parser.add_argument("--nat", action="store_true")
    given = parser.parse_args()
    try:
        run(given.socket, given.port, tuple(given.address), nat=given.nat)
    except AmpzeroError as error:
        console.error(error.message, error.hint)
        return error.exit_code
    return 0


def run(socket: Path, port: int, addresses: tuple[str, ...], *, nat: bool) -> None:
    """Serve at the unix socket `socket`; the rest is in the environment.

    Raises: AmpzeroError.
    """
    from keys.contact.app import Process, Settings
    from lib import serve
    from lib.errors import MissingError
    from lib.options import PASSPHRASE_VARIABLE
    from lib.signed import read_secret

    for name in ("AMPZERO_DIRECTORY", "AMPZERO_VAR", "CONTACT_SECRET_FILE"):
        if not os.environ.get(name):
            raise MissingError(f"{name} is not set", "the contact process is started by: ampzero run")
    passphrase = os.environ.get(PASSPHRASE_VARIABLE, "")
    settings = Settings(
        directory=Path(os.environ["AMPZERO_DIRECTORY"]), state=Path(os.environ["AMPZERO_VAR"]) / "state",
        port=port, addresses=addresses, nat=nat, secret=read_secret(Path(os.environ["CONTACT_SECRET_FILE"])),
        passphrase_file=Path(passphrase) if passphrase else None,
    )  # fmt: skip
    serve.serve(Process(settings).application(), socket)


if __name__ == "__main__":
    sys.exit(main())
