"""What `python3 agent.pyz` does: `serve ROOT` answers a coordinator, `keep --root ROOT` is the keeper."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from deploy.agent.layout import Layout

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where servers are installed; the PATH of a command that sshd starts leaves them out."""


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit code."""
    *words, root = arguments or [""]
    if words not in (["serve"], ["keep", "--root"]):
        sys.stderr.write("usage: agent.pyz serve ROOT | keep --root ROOT\n")
        return 2
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*folders, *(one for one in SYSTEM_FOLDERS if one not in folders)])
    if words == ["serve"]:
        return serve(Layout(Path(root)))
    return keep(Path(root))


def serve(layout: Layout) -> int:
    """Answer the coordinator on the standard input and output."""
    from deploy.agent.driver import Drivers
    from deploy.agent.operations import OPERATIONS
    from deploy.agent.server import Server, take_over

    # One warm tool for the whole connection: most requests of a switchover need it.
    with closing(Drivers()) as drivers:
        operations = {name: partial(each, drivers=drivers) for name, each in OPERATIONS.items()}
        Server(layout, operations, *take_over()).serve()
    return 0


def keep(root: Path) -> int:
    """Keep the host up until SIGTERM."""
    from deploy.agent import keeper
    from deploy.agent.errors import AgentError

    os.umask(0o022)
    try:
        keeper.main(root)
    except AgentError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
