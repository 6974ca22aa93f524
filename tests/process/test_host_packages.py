"""Programs for a host, through stand-ins for apt-get and systemctl that note what they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.agent import packages
from deploy.agent.errors import AgentError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH. The apt-get in it installs nginx, and enables its unit."""
    folder, units = tmp_path / "bin", tmp_path / "systemd"
    folder.mkdir()
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "multi-user.target.wants/ssh.service").touch()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(packages, "UNITS", units)
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
    program(folder, "systemctl", f'echo "$*" >>{tmp_path}/disabled')
    program(
        folder, "apt-get",
        f'echo "$*" >>{tmp_path}/told; [ $1 = install ] || exit 0\n'
        f"/bin/cp {tmp_path}/policy-rc.d {tmp_path}/policy-then; echo Unpacking nginx\n"
        f": >{units}/multi-user.target.wants/nginx.service\n"
        f"/bin/ln -s /bin/true {folder}/nginx",
    )  # fmt: skip
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_service_that_a_package_brings_starts_neither_now_nor_at_boot(host: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    did = packages.provide(["nginx"], install=True, said=heard.append)
    assert did == ["installed nginx"]
    assert heard == ["installing nginx"], "what apt says is for when it fails"
    assert (tmp_path / "policy-then").read_text() == packages.DENY
    assert not (tmp_path / "policy-rc.d").exists()
    assert (tmp_path / "disabled").read_text() == "disable nginx.service\n"
    update, install = (tmp_path / "told").read_text().splitlines()
    assert update == "update"
    assert install == "install -y --no-install-recommends nginx -oDPkg::Lock::Timeout=300"
    assert packages.provide(["nginx"], install=True, said=heard.append) == []


def test_the_policy_of_a_host_stays_and_one_that_a_killed_setup_left_goes(host: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    packages.provide(["nginx"], install=True, said=lambda _: None)
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"
    (host / "nginx").unlink()
    policy.write_text(packages.DENY)
    packages.provide(["nginx"], install=True, said=lambda _: None)
    assert not policy.exists()


def test_what_apt_said_is_heard_when_it_fails(host: Path, tmp_path: Path) -> None:
    program(host, "apt-get", "echo Reading lists; echo 'E: Unable to locate package nginx' >&2; exit 100")
    heard: list[str] = []
    with pytest.raises(AgentError) as caught:
        packages.provide(["nginx"], install=True, said=heard.append)
    command = "apt-get install -y --no-install-recommends nginx"
    assert caught.value.message == f"`{command}` failed: E: Unable to locate package nginx"
    assert heard == ["installing nginx", "Reading lists", "E: Unable to locate package nginx"]
    assert not (tmp_path / "policy-rc.d").exists()
