"""What every test gets: a home of its own, the installed command, and a check that nothing is left running.

Shared helpers are fixtures here or plain functions in support.py; no test folder has an `__init__.py`.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from running_support import Running
from support import RUN_VARIABLE, Ampzero, left_processes, unused_port, wait_for

# Those that several files share; a second conftest.py would be a second module of that name.
pytest_plugins = ["lab_fixtures", "bare_fixtures", "nat_fixtures"]

ISOLATED = ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")


def pytest_configure(config: pytest.Config) -> None:
    """Mark this run's processes, so that the ones that outlive it can be told from everybody else's; and let
    Hypothesis measure no time.

    The controller of pytest-xdist sets the variable and its workers inherit it.
    """
    if not hasattr(config, "workerinput"):
        os.environ[RUN_VARIABLE] = uuid.uuid4().hex
    # How long an example takes on a machine that does other work says nothing.
    settings.register_profile("busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail the run, with their names, when processes that it started are still there."""
    if hasattr(session.config, "workerinput"):
        return (yield)
    left: list[str] = []

    def none_left() -> bool:
        left[:] = left_processes(os.environ[RUN_VARIABLE])
        return not left

    # Inside the terminal's own wrapper, so that the words come before pytest's closing line; the workers
    # of xdist end in the inner hooks, and have this long to be gone.
    result = yield
    if not wait_for(none_left):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\nFAILED: processes of this test run are left:", *left, sep="\n  ")  # noqa: T201 -- a report
    return result


@pytest.fixture(scope="session", autouse=True)
def isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for what wider fixtures start; each test has its own on top of it."""
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("home"))
        yield


@pytest.fixture(autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """HOME, the XDG folders and git's configuration away from the user's; gives the home's path."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, home)
        yield home


def isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Point everything that a program reads of its user at the empty folder `home`."""
    patch.setenv("HOME", str(home))
    for variable in ISOLATED:
        patch.setenv(variable, str(home / variable.lower()))
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    patch.delenv("PYTHONPATH", raising=False)
    for variable in [name for name in os.environ if name.startswith("AMPZERO_")]:
        patch.delenv(variable)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a TCP port that nobody has, another one at each call."""
    return unused_port


@pytest.fixture
def ampzero() -> Ampzero:
    """The installed command: `ampzero("run", folder)` gives its code, out and err."""
    return Ampzero()


@pytest.fixture
def make_instance(tmp_path: Path, ampzero: Ampzero) -> Iterator[Callable[..., Path]]:
    """Gives `make_instance("services: ...")`: a folder with that amprun.yaml, its var/ beside it.

    What is still running at the end of the test is ended, also when the test failed.
    """
    made: list[Path] = []

    def make(services: str, name: str = "demo") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        root = tmp_path / "var"
        (folder / "amprun.yaml").write_text(f"name: {name}\namprun_root_directory: {root}\n{services}")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        ampzero("quit", str(folder))


@pytest.fixture
def make_running(tmp_path: Path, ampzero: Ampzero) -> Iterator[Callable[..., Running]]:
    """Gives `make_running("services: ...", {"app.py": "..."})`: an instance with these files, not yet run.

    Also what a supervisor that was killed left behind is ended. A fixture that gives the `root` directory
    comes before this one among a test's arguments, or is gone before the instance.
    """
    made: list[Running] = []

    def make(
        services: str, files: Mapping[str, str] | None = None, name: str = "demo", root: Path | None = None
    ) -> Running:
        folder = tmp_path / name
        root = root or tmp_path / f"{name}-var"
        folder.mkdir()
        for path, text in (files or {}).items():
            (folder / path).write_text(text)
        (folder / "amprun.yaml").write_text(f"name: {name}\namprun_root_directory: {root}\n{services}")
        made.append(Running(ampzero, folder, root))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
