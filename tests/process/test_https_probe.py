"""A readiness probe of https, which the supervisor has a program of its own ask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from running_support import Running

MakeRunning = Callable[..., Running]

SERVER = """
import http.server, os, ssl, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1]))
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("both.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=localhost", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())


def config(port: int, status: int, deadline: str) -> str:
    return (
        f"services:\n  web: {{command: [{sys.executable}, app.py, '{status}'], port: {port}, "
        f"ready: {{http: 'https://127.0.0.1:{port}/page', timeout: 10s, deadline: {deadline}}}}}\n"
    )


def test_a_server_that_answers_over_tls_is_ready(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    one = make_running(config(free_port(), 204, "60s"), {"app.py": SERVER})
    certificate(one.folder)
    one.start()
    assert one.process("web")["state"] == "ready"


def test_a_server_that_answers_500_is_not_and_the_error_names_the_address(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    port = free_port()
    one = make_running(config(port, 500, "8s"), {"app.py": SERVER})
    certificate(one.folder)
    done = one.run()
    assert done.code == 6
    assert f"https://127.0.0.1:{port}/page" in done.err
    assert "answered 500" in done.err
