from __future__ import annotations

import stat
import threading
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.node.session import Sessions, shared_key


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_every_process_knows_a_session_until_it_is_over(tmp_path: Path) -> None:
    clock = Clock()
    cookie = Sessions(tmp_path, 100, clock).start()
    other = Sessions(tmp_path, 100, clock)
    found = other.find(cookie)
    assert found is not None and found.expires == 1_000_100
    clock.now += 100
    assert other.find(cookie) is None


def test_signing_out_ends_a_copy_of_the_cookie_too(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, 100)
    cookie, another = sessions.start(), sessions.start()
    session = sessions.find(cookie)
    assert session is not None
    sessions.end(session)
    assert Sessions(tmp_path, 100).find(cookie) is None
    assert Sessions(tmp_path, 100).find(another) is not None


def test_sessions_that_are_over_leave_no_file(tmp_path: Path) -> None:
    clock = Clock()
    sessions = Sessions(tmp_path, 100, clock)
    for _ in range(3):
        sessions.start()
    clock.now += 200
    sessions.start()
    assert len(list(sessions.folder.iterdir())) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_a_changed_cookie_is_no_session(tmp_path: Path, data: st.DataObject) -> None:
    sessions = Sessions(tmp_path, 100)
    cookie = sessions.start()
    at = data.draw(st.integers(0, len(cookie) - 1))
    letter = data.draw(st.characters().filter(lambda letter: letter != cookie[at]))
    assert sessions.find(cookie[:at] + letter + cookie[at + 1 :]) is None
    assert sessions.find(cookie) is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=400))
def test_any_text_as_a_cookie_is_no_session(tmp_path: Path, text: str) -> None:
    assert Sessions(tmp_path, 100).find(text) is None


def test_a_longer_life_cannot_be_written_into_the_cookie(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, 100)
    name, expires, mac = sessions.start().split(".")
    assert sessions.find(f"{name}.{int(expires) + 1}.{mac}") is None


def test_each_session_has_a_form_token_of_its_own(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, 100)
    one, two = sessions.find(sessions.start()), sessions.find(sessions.start())
    assert one and two and one.csrf != two.csrf


def test_of_many_that_make_the_key_at_once_all_get_the_same(tmp_path: Path) -> None:
    for round_ in range(20):
        path = tmp_path / f"key-{round_}"
        barrier = threading.Barrier(12)
        keys: list[bytes] = []

        def make(path: Path = path, barrier: threading.Barrier = barrier, keys: list[bytes] = keys) -> None:
            barrier.wait()
            keys.append(shared_key(path))

        threads = [threading.Thread(target=make) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys) == 12 and len(set(keys)) == 1 and len(keys[0]) == 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_instances_on_one_host_have_cookies_of_different_names(tmp_path: Path) -> None:
    one, two = Sessions(tmp_path / "a", 100), Sessions(tmp_path / "b", 100)
    assert one.cookie != two.cookie
    assert one.cookie.startswith("__Host-")
    assert two.find(one.start()) is None
