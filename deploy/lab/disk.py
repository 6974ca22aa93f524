"""The disk of a host: a folder that outlives its power. Only the system's own programs shine through.

`root/` is the host's `/`; `layers/usr`, `etc`, `var` (and where a system has them apart `bin`, `lib` ...) are
what the host changed of the machine's own, as the kernel's overlay file system keeps it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

from deploy.lab.layer import Layer
from deploy.lab.tools import PATH, run
from lib.files import storage_errors

SCRIPTS = Path(__file__).parent
SYSTEM = ("usr", "etc", "var", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
OWN = {"home": 0o755, "opt": 0o755, "root": 0o700, "srv": 0o755}
MOUNTS = ("dev", "mnt", "proc", "run", "sys", "tmp")
EMPTY = {"etc": ("ssh",), "var": ("cache", "log", "mail", "spool", "tmp", "www")}
"""Folders of the machine that a host has as well, with the folders in them, as logs need, but no files."""
BARE = {"usr": ("local/lib/python3*/dist-packages", "local/lib/python3*/site-packages")}
"""Folders of the machine that begin really empty: what pip put there is not the system's."""
GONE = {"etc": ("rc.local", "crontab")}
"""Files of the machine that would have a host do what the machine does."""

SSHD = """\
HostKey /etc/ssh/host_key
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
UsePAM yes
UseDNS no
PrintMotd no
Subsystem sftp internal-sftp
"""


def make(disk: Path, name: str, hosts: Mapping[str, str], authorized: str, opt_size: int = 0) -> str:
    """Make the disk of the host `name`; its public host key.

    `hosts` are the lab's names and addresses. `opt_size` bytes are all the room /opt has, 0: no limit.

    Raises: StorageError, AmpzeroError.
    """
    root = disk / "root"
    with storage_errors(disk):
        root.mkdir(parents=True)
        root.chmod(0o755)
        for folder, mode in OWN.items():
            _folder(root / folder, mode)
        for folder in MOUNTS:
            _folder(root / folder, 0o755)
        for part in SYSTEM:
            _system(disk, part)
        init = root / "init"
        init.write_bytes((SCRIPTS / "init.sh").read_bytes())
        init.chmod(0o755)
        _folder(root / "root/.ssh", 0o700)
        (root / "root/.ssh/authorized_keys").write_text(authorized)
        if opt_size:
            run(["mount", "-t", "tmpfs", "-o", f"size={opt_size},mode=0755", "tmpfs", str(root / "opt")])
        return _settings(disk / "layers/etc/upper", name, hosts)


def _folder(path: Path, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def _system(disk: Path, part: str) -> None:
    """A folder of the machine's `/`: a link as it is there, else a layer over it."""
    there = Path("/") / part
    if there.is_symlink():
        (disk / "root" / part).symlink_to(there.readlink())
    elif there.is_dir():
        (disk / "root" / part).mkdir()
        layer = Layer(disk / "layers", part)
        for inner in EMPTY.get(part, ()):
            layer.empty(inner, keep_folders=True)
        for pattern in BARE.get(part, ()):
            for found in there.glob(pattern):
                layer.empty(str(found.relative_to(there)), keep_folders=False)
        for inner in GONE.get(part, ()):
            layer.hide(inner)


def _settings(etc: Path, name: str, hosts: Mapping[str, str]) -> str:
    """The files of /etc that are a host's own; gives its public host key."""
    names = "".join(f"{address} {other}\n" for other, address in hosts.items())
    for path, text in {
        "hostname": f"{name}\n",
        "hosts": f"127.0.0.1 localhost\n::1 localhost\n{names}",
        "resolv.conf": "# a lab has no name server\n",
        "environment": f'PATH="{PATH}"\n',
        "fstab": "",
        "machine-id": f"{uuid.uuid4().hex}\n",
        "ssh/sshd_config": SSHD,
    }.items():
        (etc / path).parent.mkdir(exist_ok=True)
        (etc / path).write_text(text)
        (etc / path).chmod(0o644)
    key = etc / "ssh/host_key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)])
    return key.with_suffix(".pub").read_text()
