"""A real sshd of a test's own: its port, its keys, its known_hosts; nothing of the user's is touched."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import unused_port, wait_for

PRIVSEP = Path("/run/sshd")
"""Where an sshd of root puts the process that it does not trust; the system's service makes it."""


def keygen(path: Path, *options: str, passphrase: str = "", kind: str = "ed25519") -> Path:
    """A new key pair at `path` and `path`.pub."""
    ssh_keygen("-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path, *options)
    return path


def ssh_keygen(*arguments: str | Path) -> str:
    """Run ssh-keygen; what it printed."""
    done = subprocess.run(
        ["ssh-keygen", *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def fingerprint(public: Path) -> str:
    """The SHA256:… of a public key, said by ssh-keygen."""
    return ssh_keygen("-l", "-f", public).split()[1]


class Sshd:
    """An sshd on the loopback that lets in the key `key`, as the user who runs the tests.

    `options` are lines of its configuration. It runs while it is entered, or from `start` to `stop`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.port = unused_port()
        self.user = getpass.getuser()
        self.host_key = folder / "host_key"
        self.key = folder / "id"
        for path in (self.host_key, self.key):
            if not path.exists():
                keygen(path)
        self.authorized = folder / "authorized_keys"
        shutil.copy(f"{self.key}.pub", self.authorized)
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.options = options
        self.wrapper: list[str] = []
        self.log = folder / "log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Its name in known_hosts."""
        return f"[127.0.0.1]:{self.port}"

    @property
    def address(self) -> str:
        """What a user writes."""
        return f"{self.user}@127.0.0.1:{self.port}"

    def known_hosts(self, key: Path | None = None) -> Path:
        """A new known_hosts file with its line, or with that of another key."""
        path = self.folder / f"known_hosts-{len(list(self.folder.glob('known_hosts-*')))}"
        path.write_text(f"{self.name} {Path(f'{key or self.host_key}.pub').read_text()}")
        return path

    def start(self) -> Sshd:
        """Run it until it lets in."""
        if os.getuid() == 0:
            PRIVSEP.mkdir(mode=0o755, exist_ok=True)
        path = self.folder / "sshd_config"
        path.write_text("\n".join([
            *self.options,
            f"ListenAddress 127.0.0.1:{self.port}", f"HostKey {self.host_key}", "PidFile none", "UsePAM no",
            f"AuthorizedKeysFile {self.authorized}", "StrictModes no", "PasswordAuthentication no",
            "KbdInteractiveAuthentication no", "MaxStartups 500", "MaxSessions 100", "LogLevel VERBOSE",
            f"SetEnv HOME={self.home} PATH={Path(sys.executable).parent}:/usr/bin:/bin", "",
        ]))  # fmt: skip
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "sshd"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*self.wrapper, sshd, "-D", "-e", "-f", path],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert wait_for(self.answers), self.log.read_text()
        return self

    def __enter__(self) -> Sshd:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answers(self) -> bool:
        """Whether it says who it is."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def stop(self) -> None:
        """End it, and the connections that are open."""
        if self._child is not None and self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGTERM)
            self._child.wait(60)


@contextmanager
def running_for_a_user(folder: Path) -> Iterator[Sshd]:
    """As Sshd, for an ordinary user `tester` that only this sshd knows. Needs root."""
    sshd = Sshd(folder)
    sshd.user = "tester"
    for path in [folder, *folder.parents][:-2]:  # the pytest folders are root's alone
        path.chmod(path.stat().st_mode | 0o011)
    sshd.authorized.chmod(0o644)
    users = folder / "passwd"
    users.write_text(f"{Path('/etc/passwd').read_text()}tester:x:54321:54321::{sshd.home}:/bin/sh\n")
    sshd.wrapper = ["unshare", "--mount", "sh", "-c", f'mount --bind {users} /etc/passwd && exec "$@"', "sh"]
    with sshd:
        yield sshd


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[Path]:
    """An ssh-agent that holds `keys`; the path of its socket."""
    path = folder / "agent"
    child = subprocess.Popen(
        ["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        listing = ["ssh-add", "-l"]  # 2 is: no agent answers
        assert wait_for(lambda: subprocess.run(listing, env=environment, capture_output=True).returncode != 2)
        for key in keys:
            subprocess.run(
                ["ssh-add", "-q", key], check=True, timeout=60, capture_output=True, env=environment
            )
        yield path
    finally:
        child.terminate()
        child.wait(60)
