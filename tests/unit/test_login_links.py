from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_support import token_of

from lib.config import Config, ServiceConfig
from lib.errors import UsageError
from lib.instance import Instance
from lib.login import LIFETIME, LoginLinks, make_link


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_of_many_that_try_at_once_exactly_one_wins(tmp_path: Path) -> None:
    for _ in range(20):
        token = LoginLinks(tmp_path).make()
        barrier = threading.Barrier(16)
        won: list[bool] = []

        def attempt(token: str = token, barrier: threading.Barrier = barrier, won: list[bool] = won) -> None:
            links = LoginLinks(tmp_path)  # as in another process: nothing shared but the folder
            barrier.wait()
            won.append(links.redeem(token))

        threads = [threading.Thread(target=attempt) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won.count(True) == 1
        assert won.count(False) == 15


def test_a_link_works_until_it_expires_and_not_after(tmp_path: Path) -> None:
    clock = Clock()
    links = LoginLinks(tmp_path, clock)
    early, late = links.make(), links.make()
    clock.now += LIFETIME - 1
    assert links.redeem(early)
    clock.now += 2
    assert not links.redeem(late)
    assert list(links.folder.iterdir()) == []


def test_making_a_link_clears_expired_ones_away_and_leaves_the_others(tmp_path: Path) -> None:
    clock = Clock()
    links = LoginLinks(tmp_path, clock)
    links.make()
    clock.now += LIFETIME - 10
    good = links.make()
    clock.now += 20
    links.make()
    assert len(list(links.folder.iterdir())) == 2
    assert links.redeem(good)


def test_the_token_is_not_on_the_disk_and_the_files_are_private(tmp_path: Path) -> None:
    token = LoginLinks(tmp_path).make()
    (file,) = (tmp_path / "login").iterdir()
    assert token not in file.name and token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.text(max_size=200))
def test_no_other_text_is_a_token(tmp_path: Path, text: str) -> None:
    links = LoginLinks(tmp_path)
    if not links.folder.exists():
        links.make()
    before = sorted(tmp_path.rglob("*"))
    assert not links.redeem(text)
    assert sorted(tmp_path.rglob("*")) == before


def instance(tmp_path: Path, *services: str) -> Instance:
    config = Config(port=8123, services={name: ServiceConfig() for name in services})
    return Instance("demo", tmp_path, "demo", tmp_path, tmp_path / "amprun.yaml", config)


def test_the_link_names_the_port_and_its_token_is_never_sent(tmp_path: Path) -> None:
    demo = instance(tmp_path, "ampnode", "nginx")
    link = make_link(demo)
    assert link.startswith("https://localhost:8123/login#")
    assert LoginLinks(demo.state).redeem(token_of(link))


@pytest.mark.parametrize("services", [("ampnode",), ("nginx",), ()])
def test_an_instance_without_a_page_says_so(tmp_path: Path, services: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="no page to sign in to"):
        make_link(instance(tmp_path, *services))
