"""`deploy --setup` and a first deploy, to a host that has nothing but sshd; then its power is cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from bare_support import INIT, SYSTEMD, Machine
from fleet_support import AMPRUN, MODULE, NODE, ask, git, shared_cache
from sshd_support import keygen
from support import Result, unused_port, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

STARTERS = {"rc.local": ((), INIT), "cron": (("cron",), INIT), "systemd": (("systemd-sysv", "dbus"), SYSTEMD)}
"""What starts the keeper at boot: the packages that are there before, and process 1."""
POLICY = "usr/sbin/policy-rc.d"


@dataclass(frozen=True)
class Shop:
    """An instance of one page, with a clean copy of the tool that deploys it."""

    folder: Path
    tool: Path
    port: int

    def ampzero(self, *words: str) -> Result:
        """Run the tool in the instance's folder."""
        done = subprocess.run(
            [sys.executable, self.tool / "ampzero.py", *words], cwd=self.folder, timeout=300,
            capture_output=True, text=True, stdin=subprocess.DEVNULL, errors="replace",
            env={**os.environ, "XDG_CACHE_HOME": str(shared_cache())},
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def served(self) -> str:
        """The page, "down" where there is none."""
        return ask(f"https://127.0.0.1:{self.port}/version/", 5)


@pytest.fixture
def shop(tmp_path: Path, clean_tool: Path) -> Shop:
    port = unused_port()
    done = Shop(tmp_path, clean_tool, port).ampzero("init", "shop", "--yes", "--dir", str(tmp_path))
    assert done.code == 0, done.err
    made = Shop(tmp_path / "shop", clean_tool, port)
    (made.folder / "amprun.yaml").write_text(AMPRUN.format(port=made.port))
    (made.folder / "ampnode/ampnode.yaml").write_text(NODE)
    (made.folder / "ampnode/services/version.py").write_text(MODULE.format(version="one"))
    return made


def host(
    machine: Machine, folder: Path, shop: Shop, packages: tuple[str, ...], init: tuple[str, ...]
) -> None:
    """Boot `machine` with an sshd, and make it the host that `shop` is deployed to."""
    port, key = unused_port(), keygen(folder / "id")
    machine.boot()
    machine.install("openssh-server", *packages)
    (machine.root / "etc/ssh/sshd_config.d/t.conf").write_text(f"Port {port}\nListenAddress 127.0.0.1\n")
    (machine.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)  # with systemd it is there
    (machine.root / "root/.ssh/authorized_keys").write_text(Path(f"{key}.pub").read_text())
    public = (machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    machine.kill()
    machine.boot(*init)
    environment = {
        "hosts": [{"name": "one", "address": f"root@127.0.0.1:{port}"}],
        "ssh": {"key": str(key), "known_hosts": str(folder / "known_hosts"), "config": os.devnull},
    }
    (shop.folder / "deployment.yaml").write_text(json.dumps({"environments": {"bare": environment}}))
    git(shop.folder, "add", "--all")
    git(shop.folder, "commit", "-q", "-m", "deployment")
    assert wait_for(lambda: shop.ampzero("hosts", ".").code != 12, 30, 0.5), "its sshd does not listen"


@pytest.mark.parametrize("starter", STARTERS)
def test_a_host_with_nothing_but_sshd_serves_and_comes_back_after_a_power_cut(
    make_machine: Callable[[], Machine], tmp_path: Path, shop: Shop, starter: str
) -> None:
    packages, init = STARTERS[starter]
    machine = make_machine()
    host(machine, tmp_path, shop, packages, init)
    assert machine.run("sh", "-c", "command -v python3").code != 0

    done = shop.ampzero("deploy", ".", "--setup")
    assert done.code == 0, done.err
    assert "one | installing python3\n" in done.err
    assert "one: installed nginx, redis-server, openssl; made the user ampzero; made /opt/ampzero" in done.out
    assert len(done.err.splitlines()) < 10, "apt is heard only where it fails"
    assert not (machine.root / POLICY).exists()
    again = shop.ampzero("deploy", ".", "--setup")
    assert (again.code, again.out.splitlines()[0]) == (0, "one: all is there")

    done = shop.ampzero("deploy", ".", "--yes")
    assert done.code == 0, done.err
    assert shop.served() == "one"

    machine.kill()
    assert shop.served() == "down"
    machine.boot(*init)
    assert wait_for(lambda: shop.served() == "one", 60), machine.must("cat", "/opt/ampzero/state/keeper.log")
    if starter == "systemd":
        for unit in ("nginx", "redis-server"):
            assert machine.run("systemctl", "is-enabled", unit).out == "disabled\n"
            assert machine.run("systemctl", "is-active", unit).out == "inactive\n"
