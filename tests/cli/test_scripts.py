"""What the set-up scripts say and do before they install anything; that they do install is seen by CI."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import lib

ROOT = Path(lib.__file__).resolve().parent.parent
SCRIPTS = ("scripts/demo", "scripts/test", "scripts/common.sh", ".ci/run", ".ci/from_elsewhere")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run `line` in a bash that has read scripts/common.sh, as the scripts do."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". scripts/common.sh; {line}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_understands_it(name: str) -> None:
    assert subprocess.run(["bash", "-n", ROOT / name], check=False).returncode == 0
    assert name == "scripts/common.sh" or os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize("name", ["scripts/demo", "scripts/test"])
def test_help_says_how_to_call_it(name: str) -> None:
    done = subprocess.run([ROOT / name, "--help"], capture_output=True, text=True, check=True)
    assert f"{name} [--yes]" in done.stdout


def test_the_demo_refuses_what_it_does_not_know() -> None:
    done = subprocess.run([ROOT / "scripts/demo", "--fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: unknown argument: --fast\nhint: scripts/demo [--yes]\n"


def test_what_is_there_is_not_installed_again() -> None:
    done = shell('need_programs bash sh; echo "left:$could_not"')
    assert (done.returncode, done.stdout, done.stderr) == (0, "left:\n", "")


def test_what_cannot_be_installed_is_named_and_the_rest_goes_on() -> None:
    done = shell('manager() { echo none; }; need_programs sh no-such-program; echo "left:$could_not"')
    assert done.returncode == 0
    assert done.stdout == "left: no-such-program\n"
    assert "No package manager that this script knows" in done.stderr
    assert "Could not install: no-such-program" in done.stderr


def test_without_root_and_sudo_it_says_so() -> None:
    done = shell("manager() { echo apt; }; may_be_root() { false; }; need_programs no-such-program")
    assert done.returncode == 0
    assert "needs root" in done.stderr


def test_a_package_is_chosen_by_what_the_system_has() -> None:
    done = shell(
        "manager() { echo apt; }; may_be_root() { true; }; refresh_lists() { :; }; have() { false; };"
        "do_not_start_at_boot() { :; };"
        'candidate() { case $1 in etcd) echo 3.3 ;; chromium) echo "2:1snap1" ;; esac; };'
        'install_packages() { echo "installing $*"; };'
        "need_programs etcd chromium nginx"
    )
    # Here etcd-server has no candidate, Chromium is only a snap, and nginx is not there at all.
    assert done.stdout == "installing etcd\n"
    assert "Could not install: etcd chromium nginx" in done.stderr


@pytest.mark.parametrize(
    ("candidate", "wanted"),
    [("3.4.23-4", True), ("(none)", False), ("2:1snap1-0ubuntu2", False), ("", False)],
)
def test_a_candidate_of_apt_is_read(tmp_path: Path, candidate: str, wanted: bool) -> None:
    policy = tmp_path / "apt-cache"
    policy.write_text(
        f"#!/bin/sh\nprintf 'x:\\n  Installed: (none)\\n  Candidate: {candidate}\\n  Version table:\\n'\n"
    )
    policy.chmod(0o755)
    done = shell(f"PATH={tmp_path}:$PATH; manager() {{ echo apt; }}; available x")
    assert (done.returncode == 0) == wanted


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = shell(f"venv={tmp_path}; need_venv dev")
    assert done.returncode == 5
    assert "is in the way" in done.stderr
    assert (tmp_path / "precious").read_text() == "mine"


def commands(folder: Path, **texts: str) -> Path:
    """A folder for the PATH with these programs in it."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    return folder


def test_sudo_asks_for_its_password_also_when_a_command_reads_from_a_file(tmp_path: Path) -> None:
    """`sudo -n tee` was what a person at a terminal got, and with it no policy-rc.d."""
    path = commands(tmp_path / "bin", sudo='echo "sudo $*"', id="echo 1000")
    done = shell(f"PATH={path}:$PATH; terminal=1; echo | as_root tee x; as_root env apt-get </dev/null")
    assert done.stdout == "sudo tee x\nsudo env apt-get\n"


def test_a_user_whom_sudo_refuses_is_told_so_before_anything_is_begun(tmp_path: Path) -> None:
    path = commands(tmp_path / "bin", sudo="exit 1", id="echo 1000", apt_get="echo began")
    done = shell(
        f"PATH={path}:$PATH; terminal=1; yes=1; manager() {{ echo apt; }}; need_programs no-such-program"
    )
    assert "not root, and cannot use sudo" in done.stderr
    assert "began" not in done.stdout + done.stderr


def test_the_package_managers_words_are_shown_only_when_it_fails(tmp_path: Path) -> None:
    good = shell("install_loudly() { echo noise; echo noise >&2; }; install_packages a b")
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "Installing: a b\n")
    bad = shell("install_loudly() { echo out; echo why >&2; return 3; }; install_packages a")
    assert (bad.returncode, bad.stdout, bad.stderr) == (3, "", "Installing: a\nout\nwhy\n")


@pytest.mark.parametrize("ending", ["true", "false", "kill -INT $$", "kill -TERM $$"])
def test_an_interrupted_installation_lets_services_start_again(tmp_path: Path, ending: str) -> None:
    policy = tmp_path / "policy-rc.d"
    shell(f'as_root() {{ "$@"; }}; POLICY={policy}; start_nothing; [ -x $POLICY ]; {ending}; start_again')
    assert not policy.exists()


def test_what_a_killed_installation_left_is_removed_and_another_policy_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    began = f'as_root() {{ "$@"; }}; POLICY={policy}; start_nothing; '
    shell(began + "kill -KILL $$")
    assert policy.exists()
    shell(began + "start_again")
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 101\n")
    shell(began + "start_again")
    assert policy.exists(), "a machine that has its own keeps it"


def test_a_python_without_venv_is_not_called_a_missing_python() -> None:
    done = shell(
        "manager() { echo apt; }; may_be_root() { false; }; find_python() { return 1; };"
        "is_supported() { true; }; need_python"
    )
    assert done.returncode == 5
    assert "is here, but what makes environments is missing" in done.stderr
    assert "hint: as root: apt-get install --no-install-recommends python3-venv\n" in done.stderr


def test_without_any_python_the_words_of_the_shell_are_not_in_the_error(tmp_path: Path) -> None:
    done = shell(
        "manager() { echo apt; }; may_be_root() { false; }; find_python() { return 1; };"
        "candidate() { echo 3.13.5-1; }; have() { [ $1 != python3 ]; };"
        "python3() { return 127; }; need_python"
    )
    assert "no Python from 3.11 to 3.14 here (python3 is missing)\n" in done.stderr
    assert "hint: as root: apt-get install --no-install-recommends python3 python3-venv\n" in done.stderr
