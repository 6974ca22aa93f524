"""Programs: found, versioned, and what installs the missing; doctor's judgement of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import lib
from deploy.agent import packages
from lib import doctor
from lib.errors import MissingError
from lib.kinds import KINDS
from lib.programs import install
from lib.programs.known import find_program, known_programs
from lib.programs.lookup import (
    Found,
    install_argv,
    look_up,
    package_manager,
    version_tuple,
)
from lib.programs.program import Program
from lib.services import SERVICES


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def program(name: str, *, minimum: tuple[int, ...] = (), also_in: tuple[str, ...] = ()) -> Program:
    packages = {"apt": f"{name}-deb", "brew": f"{name}-brew"}
    return Program(name, (name, "--version"), packages, minimum, also_in)


def test_the_table_and_the_loader_know_the_same_kinds() -> None:
    assert set(SERVICES) == {*KINDS, "command"}
    assert all(kind.kind == name for name, kind in SERVICES.items())


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("echo 'nginx version: nginx/1.22.1 (Debian)' >&2", "1.22.1"),
        ("echo 'Redis server v=7.0.15 sha=00000000:0 bits=64'", "7.0.15"),
        ("printf 'etcd Version: 3.5.16\\nGo Version: go1.22.0\\n'", "3.5.16"),
        ("echo 'OpenSSL 3.0.19 27 Jan 2026'", "3.0.19"),
        ("echo none; exit 1", ""),
    ],
)
def test_versions_as_programs_say_them(tools: Path, says: str, version: str) -> None:
    path = script(tools, "prog", says)
    found = look_up(program("prog", minimum=(1, 3)))
    assert (found.path, found.version) == (str(path), version)
    assert found.good == bool(version)


def test_too_old_is_by_numbers_not_by_letters() -> None:
    one = program("etcd", minimum=(3, 4))
    assert Found(one, "/x", "3.3.25").too_old
    assert not Found(one, "/x", "3.10").too_old
    assert not Found(one, "/x", "4.0.0").too_old
    assert version_tuple("1.22.1") == (1, 22, 1)


def test_a_program_beside_the_path_is_found(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    aside = tmp_path_factory.mktemp("sbin")
    path = script(aside, "prog", "echo 1.0")
    assert look_up(program("prog", also_in=(str(aside),))).path == str(path)


def test_a_missing_program_names_the_command_for_this_machine(tools: Path) -> None:
    script(tools, "dnf", "")
    with pytest.raises(MissingError) as caught:
        find_program("redis-server")
    assert caught.value.message == "the program redis-server is not installed"
    assert caught.value.hint.endswith("dnf install -y redis")
    assert caught.value.exit_code == 5


def test_a_missing_program_without_a_package_manager(tools: Path) -> None:
    assert package_manager() == ""
    with pytest.raises(MissingError) as caught:
        find_program("redis-server")
    assert caught.value.hint == "install redis-server and put it on the PATH"


def test_paths_and_unknown_names(tools: Path) -> None:
    path = script(tools, "mine", "")
    assert find_program(str(path)) == str(path)
    assert find_program("mine") == str(path)
    for name in (str(tools), str(tools / "none"), "none"):
        with pytest.raises(MissingError):
            find_program(name)


def test_every_program_of_ours_has_a_package_everywhere() -> None:
    for one in known_programs().values():
        assert set(one.packages) == {"apt", "dnf", "brew"}, one.name


def test_install_commands() -> None:
    two = [program("b"), program("a")]
    assert install_argv(two, "apt", root=True)[:2] == ["apt-get", "install"]
    assert install_argv(two, "apt", root=False)[0] == "sudo"
    assert install_argv(two, "apt", root=True)[-2:] == ["a-deb", "b-deb"]
    assert install_argv(two, "brew", root=False) == ["brew", "install", "a-brew", "b-brew"]
    assert install_argv(two, "dnf", root=True) == []


def test_nothing_of_the_system_starts_while_debian_installs() -> None:
    argvs = install.steps([program("a")], "apt", "/tmp/deny", root=False)  # noqa: S108 -- never opened
    assert argvs[0] == ["sudo", "apt-get", "update"]
    assert argvs[1] == ["sudo", "install", "-m", "755", "/tmp/deny", "/usr/sbin/policy-rc.d"]  # noqa: S108 -- never opened
    assert argvs[2][:4] == ["sudo", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    assert len(install.steps([program("a")], "apt", "", root=True)) == 2, "the machine's own policy stays"
    assert install.steps([program("a")], "brew", "", root=False) == [["brew", "install", "a-brew"]]


def test_what_an_installation_enabled_is_known_by_its_links(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "multi-user.target.wants").mkdir()
    (tmp_path / "multi-user.target.wants/nginx.service").symlink_to("/nowhere")
    (tmp_path / "redis.service").symlink_to("/nowhere")
    assert install.enabled(tmp_path) == set(), "without systemd nothing is enabled"
    script(tools, "systemctl", "")
    assert install.enabled(tmp_path) == {"nginx.service"}


def test_apt_waits_for_another_installation() -> None:
    argv = install.steps([program("a")], "apt", "", root=True)[-1]
    assert argv[-1] == f"-oDPkg::Lock::Timeout={install.LOCK_TIMEOUT}"


def test_what_a_killed_installation_left_is_not_taken_for_the_machines_own(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    assert install.is_ours_to_write(policy)
    policy.write_text(install.DENY)
    assert install.is_ours_to_write(policy)
    policy.write_text("#!/bin/sh\nexit 101\n")
    assert not install.is_ours_to_write(policy)
    assert packages.DENY == install.DENY, "the agent knows what doctor leaves, and the other way round"
    assert install.DENY.split("\n")[1] in (Path(lib.__file__).parent.parent / "scripts/common.sh").read_text()


def test_without_rights_the_error_is_one_line_with_what_root_types(tools: Path) -> None:
    script(tools, "sudo", "exit 1")
    with pytest.raises(MissingError) as caught:
        install.become_root([program("a")], "apt")
    assert caught.value.message == "installing needs root, and sudo does not let this user"
    assert caught.value.hint == "as root: apt-get install -y --no-install-recommends a-deb"
    (tools / "sudo").unlink()
    with pytest.raises(MissingError):
        install.become_root([program("a")], "apt")


def test_doctor_on_versions_of_python_and_libraries() -> None:
    assert doctor.python_check((3, 11, 0)).good
    assert doctor.python_check((3, 14, 2)).good
    assert not doctor.python_check((3, 10, 9)).good
    assert not doctor.python_check((3, 15, 0)).good
    assert doctor.library_check("click", "8.1.7").good
    assert "click>=999" in doctor.library_check("click", "999").fix
    assert doctor.library_check("no-such-library", "").found == "missing"
    names = [check.name for check in doctor.library_checks()]
    assert "library click" in names
    assert "library pytest" not in names


def test_doctor_on_programs() -> None:
    one = program("etcd", minimum=(3, 4))
    assert doctor.program_check(Found(one, "/usr/bin/etcd", "3.4.23")).good
    assert doctor.program_check(Found(one)).found == "missing"
    assert "too old" in doctor.program_check(Found(one, "/usr/bin/etcd", "3.3.25")).found
    assert "does not say" in doctor.program_check(Found(one, "/usr/bin/etcd")).found
