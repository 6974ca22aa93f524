"""A client in the storm."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path


class Load:
    """A client that connects again and again; entering gives the list of what failed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> list[str]:
        self._thread.start()
        return self._failures

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.settimeout(30)
                    caller.connect(str(self._path))
                    said = b""
                    while block := caller.recv(100):
                        said += block
                    if said != b"well\n":
                        self._failures.append(f"answer {said!r}")
            except OSError as error:
                self._failures.append(str(error))
            with suppress(OSError):
                time.sleep(0.002)
