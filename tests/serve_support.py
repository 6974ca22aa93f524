"""An application of an instance's folder as `ampzero serve` runs it, for tests of its HTTP."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support import Ampzero, wait_for

from lib.errors import AmpzeroError
from lib.init.scaffold import TEMPLATE
from lib.signed import Response, SignedClient, Signer, read_secret


class Serving:
    """The application `kind`, as the template has it, in `folder`. `environment` is all that it is given."""

    def __init__(self, folder: Path, kind: str, socket: Path, secret_file: Path) -> None:
        shutil.copytree(TEMPLATE / kind, folder / kind)
        self.folder, self.kind, self.socket, self.secret_file = folder, kind, socket, secret_file
        secret_file.write_text(secrets.token_hex(32))
        self.secret = read_secret(secret_file)
        self.url = f"unix:{socket}"
        self.environment: Mapping[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def argv(self) -> list[str]:
        return [Ampzero().path, "serve", self.kind, "--socket", str(self.socket)]

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.argv, cwd=self.folder, env=self.environment, stderr=log)
        assert wait_for(self.is_ready), self.log

    def is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log
        try:
            return self.raw("GET", "/healthz", Authorization="").status == 200
        except AmpzeroError:
            return False

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def kill(self) -> None:
        """End it, whatever became of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def raw(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """One request, signed where `headers` have no Authorization."""
        client = SignedClient(self.url, Signer("instance", self.secret), timeout=60)
        try:
            return client.request(method, target, body, headers)
        finally:
            client.close()
