"""What others do for a tree with one changed file: they bring it to each host, and set a link. They do less:
nothing is signed, nothing waits for all hosts, nothing is restarted, and nobody looks whether it serves.

rsync sends only what differs, beside hard links to the tree before (`--link-dest`); Ansible and pyinfra have
no such thing among their own modules: they upload a tar of the tree and extract it. Each works on all hosts
at once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.lab import Lab

LONGEST = 600.0
PLACE = "/srv/peer"
PYINFRA = """
from pyinfra.operations import files, server

files.directory(path="{place}/{name}", present=True)
files.put(src="{tar}", dest="{place}/{name}.tar.gz")
server.shell(commands=["tar -xzf {place}/{name}.tar.gz -C {place}/{name}"])
files.link(path="{place}/current", target="{place}/{name}", force=True)
"""


class Peer:
    """One way to bring the folder `tree` to the hosts of `lab`; `work` is for its own files."""

    def __init__(self, lab: Lab, tree: Path, work: Path) -> None:
        self.lab, self.tree, self.work = lab, tree, work
        login = lab.login
        self.options = [
            "-i", str(login.key), "-o", f"UserKnownHostsFile={login.known_hosts}", "-o", "IdentitiesOnly=yes",
            "-o", "BatchMode=yes",
        ]  # fmt: skip
        work.mkdir()

    def rsync(self, name: str, before: str) -> None:
        """Raises: subprocess.CalledProcessError."""
        shell = " ".join(["ssh", *self.options])

        def one(address: str) -> None:
            login = f"root@{address}"
            run("rsync", "-az", "--mkpath", f"--link-dest={PLACE}/{before}/", "-e", shell, f"{self.tree}/",
                f"{login}:{PLACE}/{name}/")  # fmt: skip
            run("ssh", *self.options, login, f"ln -sfn {PLACE}/{name} {PLACE}/current")

        with ThreadPoolExecutor(len(self.lab.hosts)) as pool:
            list(pool.map(one, [host.address for host in self.lab.hosts]))

    def ansible(self, name: str, before: str) -> None:
        """Raises: subprocess.CalledProcessError."""
        packed = self._packed()
        (self.work / "hosts").write_text("".join(f"{host.address}\n" for host in self.lab.hosts))
        play = {
            "hosts": "all", "gather_facts": False, "remote_user": "root",
            "tasks": [
                {"ansible.builtin.file": {"path": f"{PLACE}/{name}", "state": "directory"}},
                {"ansible.builtin.unarchive": {"src": str(packed), "dest": f"{PLACE}/{name}"}},
                {"ansible.builtin.file": {"path": f"{PLACE}/current", "src": f"{PLACE}/{name}",
                                          "state": "link", "force": True}},
            ],
        }  # fmt: skip
        (self.work / "play.yaml").write_text(json.dumps([play]))
        forks = str(len(self.lab.hosts))
        run(
            beside_python("ansible-playbook"), "-i", str(self.work / "hosts"), "-f", forks,
            "--ssh-common-args=" + " ".join(self.options), str(self.work / "play.yaml"),
            "-e", "ansible_python_interpreter=/usr/bin/python3", cwd=self.work,
        )  # fmt: skip

    def pyinfra(self, name: str, before: str) -> None:
        """Raises: subprocess.CalledProcessError."""
        script = self.work / "peer.py"
        script.write_text(PYINFRA.format(place=PLACE, name=name, tar=self._packed()))
        inventory = self.work / "inventory.py"
        data = {
            "ssh_user": "root", "ssh_key": str(self.lab.login.key),
            "ssh_known_hosts_file": str(self.lab.login.known_hosts), "ssh_strict_host_key_checking": "yes",
        }  # fmt: skip
        inventory.write_text(f"hosts = ({[host.address for host in self.lab.hosts]!r}, {data!r})\n")
        run(beside_python("pyinfra"), "-y", str(inventory), str(script), cwd=self.work)

    def _packed(self) -> Path:
        """The tree as a tar; making it is part of the time, as it is of ours."""
        made = self.work / "tree.tar.gz"
        with tarfile.open(made, "w:gz", compresslevel=6) as tar:
            tar.add(self.tree, ".")
        return made

    def clear(self) -> None:
        """Take away what the peer before left."""
        for host in self.lab.hosts:
            shutil.rmtree(host.path(PLACE), ignore_errors=True)


def measure(lab: Lab, tree: Path, work: Path, rounds: int = 3) -> dict[str, list[float]]:
    """Seconds of each peer's updates with one changed file, after a first one of the whole tree."""
    peer = Peer(lab, tree, work)
    ways: dict[str, Callable[[str, str], None]] = {
        "rsync": peer.rsync, "ansible": peer.ansible, "pyinfra": peer.pyinfra,
    }  # fmt: skip
    found: dict[str, list[float]] = {}
    for way, bring in ways.items():
        peer.clear()
        bring("0", "none")
        for number in range(1, rounds + 1):
            (tree / "changed").write_text(f"{way} {number}")
            begun = time.monotonic()
            bring(str(number), str(number - 1))
            found.setdefault(way, []).append(time.monotonic() - begun)
            said = {(host.path(PLACE) / str(number) / "changed").read_text() for host in lab.hosts}
            if said != {f"{way} {number}"}:
                raise RuntimeError(f"{way}: the hosts have {said}")
    return found


def beside_python(program: str) -> str:
    """The path of a program in this environment."""
    return str(Path(sys.executable).with_name(program))


def run(*argv: str, cwd: Path | None = None) -> None:
    """Run a command. Raises: RuntimeError with what it said."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=LONGEST, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: exit code {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
