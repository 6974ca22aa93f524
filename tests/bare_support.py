"""Bare Debian machines for tests/bare: a debootstrapped root in namespaces of its own, its process 1.

The network is this machine's, as apt and pip must reach theirs; ports are the tests' to choose.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support import Result, wait_for

MIRROR = "http://deb.debian.org/debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
START = """
mkdir -p /run/sshd
for program in /usr/sbin/sshd /usr/sbin/cron /etc/rc.local; do
    if [ -x $program ]; then $program; fi
done
while :; do sleep 86400 & wait $! || true; done
"""
INIT = ("/bin/sh", "-c", START)
"""A process 1 that starts what any Debian starts, and then only reaps."""
SYSTEMD = ("/lib/systemd/systemd",)
BOOT = """
set -eu
cd "$1"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay root
cd root
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755,nosuid tmpfs run
mount -t tmpfs -o mode=1777,nosuid tmpfs tmp
mount -t tmpfs -o mode=0755,nosuid tmpfs dev
for device in null zero full random urandom tty; do
    : >dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir -p dev/pts dev/shm run/lock
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
pivot_root . mnt
umount -l /mnt
: >/run/up
exec chroot . "${@:3}"
"""
"""boot FOLDER BASE INIT...: the file system is FOLDER/upper over BASE; /run/up is there when INIT begins."""


def why_not() -> str:
    """Why no bare machine can be made here; empty where it can."""
    if os.geteuid() != 0:
        return "making a bare Debian needs root"
    missing = [name for name in ("debootstrap", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    return "" if cgroup_root() else "no cgroup2 is mounted here"


def cgroup_root() -> Path | None:
    """Where the second version of cgroups is mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    return None


def debootstrap(folder: Path, suite: str) -> Path:
    """A root of Debian with nothing but what every Debian has, and this machine's way to PyPI."""
    argv = ["debootstrap", "--variant=minbase", suite, str(folder), MIRROR]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:]
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    hostname = Path("/proc/sys/kernel/hostname").read_text().strip()
    (folder / "etc/hosts").write_text(f"127.0.0.1 localhost {hostname}\n")
    if certificates := os.environ.get("PIP_CERT"):
        shutil.copy(certificates, folder / "etc/pip.pem")
        (folder / "etc/pip.conf").write_text("[global]\ncert = /etc/pip.pem\n")
    return folder


class Machine:
    """A machine over the root `base`; its own changes are in `folder`, and outlive its power."""

    def __init__(self, base: Path, folder: Path, cgroup: Path) -> None:
        self._base = base
        self._folder = folder
        self._cgroup = cgroup
        self._unshare: subprocess.Popen[bytes] | None = None
        self.init = 0
        """Its process 1, as a pid of this machine; 0 without power."""

    @property
    def root(self) -> Path:
        """Its file system, as seen from here while it is up."""
        return Path(f"/proc/{self.init}/root")

    def boot(self, *init: str) -> None:
        """Power on, with `init` as process 1."""
        self._cgroup.mkdir(exist_ok=True)
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        enter = f'echo $$ >"{self._cgroup}/cgroup.procs"; exec "$@"'
        argv = ["sh", "-c", enter, "sh", "unshare", *NAMESPACES, "--fork", "--kill-child",
                "bash", "-c", BOOT, "boot", str(self._folder), str(self._base), *(init or INIT)]  # fmt: skip
        with (self._folder / "console").open("ab") as console:
            self._unshare = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/",
                env={"PATH": PATH, "container": "lab"},
            )  # fmt: skip
        assert wait_for(self._is_up, 20), (self._folder / "console").read_text()

    def _is_up(self) -> bool:
        assert self._unshare is not None
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        with suppress(OSError, IndexError):
            self.init = int(children.read_text().split()[0])
        return bool(self.init) and (self.root / "run/up").exists()

    def kill(self) -> None:
        """Cut its power: nothing in it gets to say goodbye."""
        if self._unshare is not None:
            with suppress(ProcessLookupError):
                os.kill(self.init or self._unshare.pid, signal.SIGKILL)
            self._unshare.wait(60)
        self._unshare, self.init = None, 0
        wait_for(self._forget_cgroup, 5)

    def _forget_cgroup(self) -> bool:
        for folder in sorted(self._cgroup.glob("**/"), reverse=True):
            with suppress(OSError):  # somebody in it is not quite gone
                folder.rmdir()
        return not self._cgroup.exists()

    def argv(self, *words: str, user: str = "root") -> list[str]:
        """The command line that runs `words` in it, as `user`."""
        home = "/root" if user == "root" else f"/home/{user}"
        inside = ["nsenter", f"--target={self.init}", *NAMESPACES, "--root", "--wd"]
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        environment = [f"PATH={PATH}", f"HOME={home}", f"USER={user}", "LANG=C.UTF-8", "TERM=dumb"]
        return [*inside, *become, "env", "-i", "-C", home, *environment, *words]

    def run(self, *words: str, user: str = "root", timeout: float = 300) -> Result:
        """Run a command in it."""
        done = subprocess.run(self.argv(*words, user=user), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=timeout)  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def must(self, *words: str, user: str = "root", timeout: float = 300) -> str:
        """Run a command that has to succeed; what it printed."""
        done = self.run(*words, user=user, timeout=timeout)
        assert done.code == 0, f"{words}: {done.code}\n{done.out[-3000:]}\n{done.err[-3000:]}"
        return done.out

    def copy(self, tree: Path, user: str = "root") -> str:
        """Copy a folder into the home of `user`; its path there."""
        place = ("/root" if user == "root" else f"/home/{user}") + f"/{tree.name}"
        shutil.copytree(tree, self.root / place[1:], symlinks=True)
        self.must("chown", "-R", f"{user}:", place)
        return place

    def install(self, *packages: str) -> None:
        """Install packages as somebody did before us."""
        self.must("apt-get", "update", "-qq")
        self.must("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
                  "--no-install-recommends", *packages)  # fmt: skip


@contextmanager
def machine(base: Path, folder: Path) -> Iterator[Machine]:
    """A machine that is not yet up; afterwards nothing of it is left."""
    root = cgroup_root()
    assert root is not None
    made = Machine(base, folder, root / f"ampzero-bare-{os.getpid()}-{folder.name}")
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)
