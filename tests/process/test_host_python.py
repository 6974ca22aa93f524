"""Python for a host that has none: through stand-ins for its package manager that note what they do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy import python
from deploy.channel import Channel
from deploy.transport.local import LocalTransport
from lib.errors import MissingError, UnreachableError

HALF = "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'json'\" >&2\nexit 1\n"
"""What Debian's python3-minimal says to the agent's first line."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH: a host with a shell, where we are root, and an apt-get that installs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "true"):
        (folder / name).symlink_to(f"/bin/{name}")
    program(folder, "id", "echo 0")
    told = f'echo "$DEBIAN_FRONTEND $*" >>{tmp_path}/told'
    link = f"case $1 in install) /bin/ln -sf {sys.executable} {folder}/python3 ;; esac"
    program(folder, "apt-get", f"{told}; {link}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def provide(heard: list[str]) -> None:
    with LocalTransport() as transport:
        python.provide(transport, "host-1", heard.append)


@pytest.mark.parametrize("before", ["", "echo half >&2; exit 1"])
def test_a_host_without_python_or_with_half_of_one_gets_it(host: Path, tmp_path: Path, before: str) -> None:
    if before:
        program(host, "python3", before)
    heard: list[str] = []
    provide(heard)
    assert heard == ["installing python3"]
    update, install = (tmp_path / "told").read_text().splitlines()
    assert update == "noninteractive update"
    assert install == "noninteractive install -y --no-install-recommends -oDPkg::Lock::Timeout=300 python3"
    provide(heard)
    assert heard == ["installing python3"], "it is there now"


def test_a_login_with_sudo_installs_through_it_and_one_without_leaves_all_as_it_is(
    host: Path, tmp_path: Path
) -> None:
    program(host, "id", "echo 1000")
    heard: list[str] = []
    provide(heard)
    program(host, "sudo", "exit 1")
    provide(heard)
    assert heard == []
    assert not (tmp_path / "told").exists()
    program(host, "sudo", f'echo "sudo $1" >>{tmp_path}/told; shift; exec "$@"')
    provide(heard)
    assert heard == ["installing python3"]
    assert (tmp_path / "told").read_text().startswith("sudo -n\nsudo -n\n")


def test_what_the_package_manager_said_last_is_the_reason(host: Path) -> None:
    program(host, "apt-get", "echo reading; echo 'E: Unable to locate \033[2Jpackage python3' >&2; exit 100")
    with pytest.raises(MissingError) as caught:
        provide([])
    reason = "host-1: cannot install python3: E: Unable to locate ?[2Jpackage python3"
    assert caught.value.message == reason
    (host / "apt-get").unlink()
    with pytest.raises(MissingError, match="no apt-get or dnf is here"):
        provide([])


def test_half_a_python_is_one_line_and_no_traceback(host: Path, tmp_path: Path) -> None:
    (host / "python3").write_text(HALF)
    (host / "python3").chmod(0o755)
    with pytest.raises(UnreachableError) as caught:
        Channel.open(LocalTransport(), str(tmp_path / "root"), name="host-1")
    assert caught.value.message == "host-1: its python3 is not whole: no json in it"
    assert "--setup" in caught.value.hint
    (host / "python3").write_text("#!/bin/sh\necho Traceback; echo first >&2; echo the reason >&2; exit 1\n")
    with pytest.raises(UnreachableError) as caught:
        Channel.open(LocalTransport(), str(tmp_path / "root"), name="host-1")
    assert caught.value.message == "host-1: its agent did not start: the reason"
