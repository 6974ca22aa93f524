"""Ask an https URL for its status, as a program of its own: `…/https_probe.py URL SECONDS`.

The supervisor speaks no TLS: that library is an eighth of its memory, and few ask https. The certificate is
not checked: the question is whether the server works, not who it is, and it runs on this machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

LAUNCHER = (sys.executable, "-E", "-P", str(Path(__file__).resolve()))


def ask(url: str, timeout: float) -> int:
    """The status of `url`.

    Raises: OSError, http.client.HTTPException, ValueError.
    """
    import http.client
    import ssl
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        parts.hostname or "localhost", parts.port, timeout=timeout, context=context
    )
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> int:
    """0 for a status from 200 to 399, else 1 and a line that says why."""
    try:
        status = ask(sys.argv[1], float(sys.argv[2]))
    except Exception as error:
        # Whatever it is, it is the answer: not ready.
        sys.stderr.write(f"{sys.argv[1]}: {error}\n")
        return 1
    if not 200 <= status < 400:
        sys.stderr.write(f"{sys.argv[1]} answered {status}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
