"""Asks the instance's own nginx: what it answers to users, and whether requests are under way."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from pathlib import Path

from deploy.agent.errors import AgentError

ANSWER_TIME = 5.0
STATUS = re.compile(rb"Reading: (\d+) Writing: (\d+)")
"""Of ngx_http_stub_status_module's page, which the template serves on the unix socket, at /status."""
LOOK = 0.05
UNWELL = (502, 503, 504)
"""503 is the placeholder page, which nginx gives, too, when no process of the application answers."""
NOT_READY = 6
"""Exit code of lib/errors.py."""


def ask(port: int) -> int:
    """The status of `https://127.0.0.1:port/`, as this machine's own user gets it; 0 where none comes.

    The certificate is not checked: the question is whether the server works, and it runs here.
    """
    # Not the default context: that would load all the CAs of the system first.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=ANSWER_TIME, context=context)
    try:
        connection.request("GET", "/", headers={"Host": "localhost"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def refusal(ports: list[int], *, is_open: bool) -> str:
    """What users get that they should not, on any of the ports; empty where all is well.

    While users are kept out the placeholder is right, and it is enough that somebody answers.
    """
    for port in ports:
        code = ask(port)
        if not code:
            return f"nobody answers on port {port}"
        if is_open and code in UNWELL:
            return f"port {port} answers {code}"
    return ""


def wait_open(ports: list[int], deadline: float) -> None:
    """Return once users get what they should.

    Raises: AgentError that says what they got at the end.
    """
    until = time.monotonic() + deadline
    while why := refusal(ports, is_open=True):
        if time.monotonic() > until:
            raise AgentError(f"not healthy after {deadline:g} s: {why}", "read its log", NOT_READY)
        time.sleep(LOOK)


def under_way(socket_path: Path) -> int | None:
    """How many requests nginx is reading or answering, this one left out; None where it does not say."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_TIME)
            connection.connect(str(socket_path))
            connection.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            answer = b""
            while len(answer) < 8192 and (data := connection.recv(4096)):
                answer += data
    except OSError:
        return None
    found = STATUS.search(answer)
    return max(0, int(found[1]) + int(found[2]) - 1) if found else None


def drain(sockets: list[Path], seconds: float) -> None:
    """Wait until no request is under way, or for `seconds`: an event stream never ends.

    Where nginx does not say how many there are (a configuration of one's own), the whole time is waited.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        counts = [under_way(path) for path in sockets]
        if all(count == 0 for count in counts):
            return
        time.sleep(min(LOOK, max(0.0, until - time.monotonic())))
