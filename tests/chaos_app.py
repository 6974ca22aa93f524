"""What the chaos run's services run: numbered lines for ever, and a flood of them on SIGUSR1.

`chaos_app.py KIND`: plain; deaf (to SIGTERM); forker (leaves a daemon in a session of its own behind); http
(listens on $PORT); held (answers on the socket that it is handed). With BAD=1 it never says `up`.
Each line is `PROCESS PID NUMBER`, NUMBER without a gap.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time

FLOOD = 20_000
"""Lines of one flood."""


def main() -> None:
    """Run until a signal ends it."""
    kind, number, wanted = sys.argv[1], 0, 0
    prefix = f"{os.environ['AMPZERO_PROCESS']} {os.getpid()}"

    def flood(*_: object) -> None:
        nonlocal wanted
        wanted += FLOOD

    signal.signal(signal.SIGUSR1, flood)
    listener: socket.socket | None = None
    if kind == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif kind == "forker":
        subprocess.run(["sh", "-c", "setsid sleep 1000 &"], check=True)
    elif kind == "http":
        listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
    elif kind == "held":
        assert os.environ["LISTEN_PID"] == str(os.getpid())
        listener = socket.socket(fileno=3)
    if listener is not None:
        listener.setblocking(False)
    if "BAD" not in os.environ:
        sys.stdout.write("up\n")
        sys.stdout.flush()
    while True:
        lines = 1
        if wanted:
            lines, wanted = wanted, 0
        for _ in range(lines):
            sys.stdout.write(f"{prefix} {number}\n")
            number += 1
        sys.stdout.flush()
        if listener is None:
            time.sleep(0.1)
        elif select.select([listener], [], [], 0.1)[0]:
            try:
                caller, _ = listener.accept()
            except BlockingIOError:
                continue  # another process of the service was faster
            with caller:
                caller.setblocking(True)
                caller.sendall(b"well\n")


if __name__ == "__main__":
    main()
