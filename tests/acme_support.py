"""A real ACME server for tests: Pebble, of Let's Encrypt, with the small DNS server that comes with it.

All names lead to this machine. On Debian both are in the package `pebble`.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import unused_port, wait_for

from keys.tls.authority import Authority
from keys.tls.leaf import ADDRESSES, beside


@dataclass
class Pebble:
    """One that runs. `asks_on` is the port where it looks for answers, in place of 80."""

    directory: str
    management: str
    dns_management: str
    asks_on: int
    ca: Path
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> bytes:
        """What its management interface answers."""
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(self.management + path, context=context, timeout=30) as answer:  # noqa: S310 -- https to ourselves
            body: bytes = answer.read()
        return body

    def root(self, folder: Path) -> Path:
        """A file with the root that it signs by."""
        file = folder / "pebble-root.pem"
        file.write_bytes(self.get("/roots/0"))
        return file

    def lead(self, name: str, address: str) -> None:
        """Have a name lead to another address."""
        for what, more in (("clear-a", {}), ("add-a", {"addresses": [address]})):
            body = json.dumps({"host": f"{name}.", **more}).encode()
            request = urllib.request.Request(f"{self.dns_management}/{what}", body, method="POST")  # noqa: S310
            urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 -- http to ourselves

    def orders(self) -> int:
        """How many certificates it has given."""
        return self.log.read_text().count("Issued certificate serial")


@contextmanager
def pebble(folder: Path, validity: int = 7776000) -> Iterator[Pebble]:
    """One whose certificates are good for so many seconds. Skips the test where there is none."""
    for program in ("pebble", "pebble-challtestsrv"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here: apt install pebble")
    folder.mkdir()
    pair = beside(folder / "pebble.cert")
    authority = Authority.open()
    authority.issue(*pair, ["localhost"], ADDRESSES)
    listen, management, asks_on, dns, dns_management = (unused_port() for _ in range(5))
    settings = {
        "listenAddress": f"127.0.0.1:{listen}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(pair.certificate), "privateKey": str(pair.key), "httpPort": asks_on,
        "tlsPort": unused_port(), "ocspResponderURL": "", "externalAccountBindingRequired": False,
        "certificateValidityPeriod": validity,
    }  # fmt: skip
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
    log = folder / "pebble.log"
    names = subprocess.Popen(
        ["pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
         "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    made = Pebble(
        f"https://localhost:{listen}/dir", f"https://localhost:{management}",
        f"http://127.0.0.1:{dns_management}", asks_on, authority.ca_file, process, log,
    )  # fmt: skip
    try:
        assert wait_for(lambda: answers(made)), log.read_text()
        yield made
    finally:
        for one in (process, names):
            one.kill()
            one.wait(60)


def answers(one: Pebble) -> bool:
    """Whether it is up."""
    try:
        return bool(one.get("/roots/0"))
    except OSError:
        return False
