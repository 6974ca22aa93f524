"""Whose process is whose, on a table of processes that the test makes."""

from __future__ import annotations

from lib.supervisor.tree import Entry, Table, members, session_of, strays, with_descendants

MARK = b"AMPZERO_SPAWN=web.1:1"


def table(*entries: tuple[int, int, int, int]) -> Table:
    """Of (pid, parent, session, start)."""
    return Table(
        Entry(pid, parent, session, state="S", started=started) for pid, parent, session, started in entries
    )


def test_a_session_is_its_leader_its_members_and_what_is_below_them() -> None:
    found = table((10, 1, 10, 5), (11, 10, 10, 6), (12, 11, 12, 7), (20, 1, 20, 5))
    assert session_of(10, 5, found) == {10, 11, 12}


def test_members_are_found_after_their_leader_has_gone() -> None:
    assert session_of(10, 5, table((11, 1, 10, 6), (20, 1, 20, 5))) == {11}


def test_a_number_that_is_anothers_by_now_is_not_ours() -> None:
    """Under load pids come round within seconds: a stop killed the child of another service."""
    reused = table((10, 1, 10, 900), (11, 10, 10, 901))
    assert session_of(10, 5, reused) == set()
    assert members(10, 5, MARK, [], reused) == set()


def test_strays_are_all_below_the_supervisor_that_it_did_not_start() -> None:
    found = table((1, 0, 1, 1), (5, 1, 5, 1), (10, 5, 10, 5), (11, 10, 11, 6), (20, 5, 20, 7), (30, 1, 30, 8))
    assert strays(5, {10}, found) == {11, 20}


def test_a_stray_whose_parent_died_while_the_table_was_read_is_found() -> None:
    """A storm of forks was taken for ended: the line of its last child named a parent that had gone."""
    assert strays(5, {10}, table((1, 0, 1, 1), (5, 1, 5, 1), (10, 5, 10, 5), (41, 40, 41, 9))) == {41}


def test_a_circle_of_parents_ends() -> None:
    assert with_descendants([1], table((1, 2, 1, 1), (2, 1, 1, 1))) == {1, 2}
