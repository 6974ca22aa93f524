"""Labs for tests: made with `make_lab(3)`, taken down at the end, also when the test failed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from deploy_trials import POLICY, Trial
from fleet_support import Site, copy_tool, make_site, shared_cache
from lab_support import MakeLab, why_not

from deploy.lab import Lab


@pytest.fixture(scope="session")
def lab_machine() -> None:
    """Skips where no lab can be made: not Linux, not root, programs or the kernel's overlay missing."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def make_lab(lab_machine: None) -> Iterator[MakeLab]:
    """Gives `make_lab(count, **options of Lab.make)`: a booted lab of the test's own."""
    with maker() as make:
        yield make


@pytest.fixture(scope="module")
def make_module_lab(lab_machine: None) -> Iterator[MakeLab]:
    """As make_lab, for a lab that all tests of a file share."""
    with maker() as make:
        yield make


@contextmanager
def maker() -> Iterator[MakeLab]:
    """What both fixtures do."""
    with ExitStack() as labs:

        def make(count: int = 3, *, rtt: float = 0, loss: float = 0, opt_size: int = 0) -> Lab:
            name = f"test-{uuid.uuid4().hex[:12]}"
            return labs.enter_context(Lab.make(name, count, rtt=rtt, loss=loss, opt_size=opt_size))

        yield make


@pytest.fixture(scope="session")
def clean_tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool's tree, committed."""
    return copy_tool(tmp_path_factory.mktemp("tool") / "ampify")


@pytest.fixture
def site(make_lab: MakeLab, clean_tool: Path, tmp_path: Path) -> Site:
    """An instance and three hosts that nobody has set up."""
    return make_site(tmp_path, clean_tool, make_lab(3), shared_cache())


@pytest.fixture
def deployed(site: Site) -> Site:
    """The same, with the version "one" served by all hosts."""
    done = site.ampzero("deploy", ".", "--setup")
    assert done.code == 0, done.err
    site.deploy()
    assert site.served() == {"one"}
    return site


@pytest.fixture(scope="module")
def shared_trial(
    make_module_lab: MakeLab, clean_tool: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trial:
    """A site with short deadlines that all tests of a file share, "one" served by its hosts."""
    site = make_site(tmp_path_factory.mktemp("site"), clean_tool, make_module_lab(3), shared_cache())
    site.configure(policy=POLICY)
    done = site.ampzero("deploy", ".", "--setup")
    assert done.code == 0, done.err
    site.deploy()
    return Trial(site)


@pytest.fixture
def trial(shared_trial: Trial) -> Iterator[Trial]:
    """The shared site, as a test before may have left it: mended, everything finished or given up."""
    shared_trial.recover()
    yield shared_trial
    shared_trial.mend()
