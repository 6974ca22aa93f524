"""Scale and reload: only the difference, checked as a whole first, undone where it does not work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from running_support import Running, alive
from support import Result, wait_for

MakeRunning = Callable[..., Running]


def pids(one: Running, service: str = "web") -> list[int]:
    return [process["pid"] for process in one.service(service)["processes"]]


def change(one: Running, services: str) -> None:
    yaml = one.folder / "amprun.yaml"
    yaml.write_text(yaml.read_text().split("services:")[0] + f"services:\n{services}")


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    results: dict[int, Any] = {}

    def keep(number: int, call: Callable[[], Any]) -> None:
        results[number] = call()

    threads = [threading.Thread(target=keep, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(calls))]


def test_up_down_to_nothing_and_back(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, processes: 2}\n").start()
    before = pids(one)

    def scale(word: str, count: int) -> None:
        done = one.ampzero("scale", one.folder, word)
        assert done.code == 0, done
        assert len(pids(one)) == count
        assert one.status()["state"] == "ready"

    scale("web=4", 4)
    assert pids(one)[:2] == before
    scale("web=+1", 5)
    scale("web=-2", 3)
    assert pids(one)[:2] == before
    gone = pids(one)
    scale("web=0", 0)
    assert not any(alive(pid) for pid in gone)
    scale("web=1", 1)
    assert one.process("web.1")["state"] == "ready"
    scale("web=3", 3)
    assert one.stop().code == 0
    one.start()
    assert len(pids(one)) == 2


@pytest.mark.parametrize(
    "word", ["web", "web=", "web=x", "web==2", "nobody=2", "web=-3", "web=1001", "web=+9999", "=1"]
)
def test_bad_words_change_nothing(make_running: MakeRunning, word: str) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    before = pids(one)
    done = one.ampzero("scale", one.folder, word)
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert pids(one) == before
    assert not (one.var / "state/scale.json").exists()


def test_a_scale_that_fails_is_undone(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'test $AMPZERO_PROCESS != web.3 && sleep 600'}\n"
    ).start()
    before = pids(one)
    done = one.ampzero("scale", one.folder, "web=3")
    assert done.code == 6, done
    assert pids(one) == before
    assert one.ampzero("reload", one.folder).out.strip() == "nothing changed"


def test_a_scale_during_a_start(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600}\n"
        "  slow: {command: sh -c 'sleep 2; echo up; sleep 600', ready: {log: up}}\n"
    )
    starter = threading.Thread(target=one.run)
    starter.start()
    assert wait_for(lambda: one.ampzero("status", one.folder, "--json").code in (0, 6))
    assert one.ampzero("scale", one.folder, "web=3").code == 0
    starter.join()
    assert len(pids(one)) == 3
    one.until(lambda: one.status()["state"] == "ready")


def test_scales_and_reloads_at_once_take_nothing_back(make_running: MakeRunning) -> None:
    one = make_running("services:\n" + "".join(f"  s{n}: {{command: sleep 600}}\n" for n in range(3))).start()
    done: list[Result] = at_once(
        *(lambda n=n: one.ampzero("scale", one.folder, f"s{n}=2") for n in range(3)),
        lambda: one.ampzero("scale", one.folder, "s0=+1"),
        lambda: one.ampzero("reload", one.folder),
    )
    assert [each.code for each in done] == [0] * 5, done
    assert [len(pids(one, f"s{n}")) for n in (1, 2)] == [2, 2]
    assert len(pids(one, "s0")) in (2, 3)  # as the two came


def test_only_the_difference_and_a_dry_run_touches_nothing(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  same: {command: sleep 600}\n  changed: {command: sleep 600}\n"
        "  gone: {command: sleep 600}\n  adjusted: {command: sleep 600}\n"
    ).start()
    names = ("same", "changed", "gone", "adjusted")
    before = {name: pids(one, name)[0] for name in names}
    change(
        one,
        "  same: {command: sleep 600}\n  changed: {command: sleep 601}\n"
        "  adjusted: {command: sleep 600, restart: {policy: never}}\n  added: {command: sleep 600}\n",
    )
    dry = one.ampzero("reload", one.folder, "--dry-run")
    assert dry.code == 0
    for line in ("remove gone", "replace changed: argv", "adjust adjusted: restart", "add added"):
        assert line in dry.out
    assert "same" not in dry.out
    assert {name: pids(one, name)[0] for name in names} == before
    done = one.ampzero("reload", one.folder)
    assert done.code == 0, done
    assert (pids(one, "same")[0], pids(one, "adjusted")[0]) == (before["same"], before["adjusted"])
    assert pids(one, "changed")[0] != before["changed"]
    assert not alive(before["gone"])
    assert not alive(before["changed"])
    assert one.process("added")["state"] == "ready"
    assert [each["name"] for each in one.status()["services"]] == ["same", "changed", "adjusted", "added"]
    assert one.ampzero("reload", one.folder).out.strip() == "nothing changed"


@pytest.mark.parametrize(
    "services",
    ["  web: {command: sleep 600, nonsense: 1}\n", "  web: [\n", "  web: {command: no-such-program-here}\n",
     "  web: {command: sleep 600, depends_on: [nobody]}\n", "  web: {command: sleep 601, cwd: nowhere}\n",
     "  a: {command: sleep 1, depends_on: [b]}\n  b: {command: sleep 1, depends_on: [a]}\n"],
)  # fmt: skip
def test_a_bad_file_changes_nothing(make_running: MakeRunning, services: str) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    before = pids(one)
    change(one, services)
    done = one.ampzero("reload", one.folder)
    assert done.code not in (0, 1), done
    assert "Traceback" not in done.err
    change(one, "  web: {command: sleep 600}\n")
    assert pids(one) == before
    assert one.status()["state"] == "ready"


def test_a_new_service_that_fails_is_undone(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    before = pids(one)
    change(one, "  web: {command: sleep 600}\n  bad: {command: sh -c 'exit 3'}\n")
    done = one.ampzero("reload", one.folder)
    assert done.code == 6, done
    assert "bad.1 did not become ready" in done.err
    assert [each["name"] for each in one.status()["services"]] == ["web"]
    assert pids(one) == before


def test_a_reload_said_nothing_changed_of_logs_metrics_and_on_crash(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    before = pids(one)
    yaml = one.folder / "amprun.yaml"
    yaml.write_text(f"metrics: {free_port()}\non_crash: stop\nlogs: {{keep: 3}}\n{yaml.read_text()}")
    later = "not changed before the next run (ampzero stop, ampzero run): metrics, on_crash"
    assert one.ampzero("reload", "-n", one.folder).out.splitlines() == ["adjust: logs", later]
    done = one.ampzero("reload", one.folder)
    assert done.code == 0, done
    assert done.out.splitlines() == ["adjust: logs", later, "done"]
    # As long as it is so, it is said.
    assert one.ampzero("reload", one.folder).out.splitlines() == [later]
    assert pids(one) == before
    assert one.stop().code == 0
    one.start()
    assert one.ampzero("reload", one.folder).out.strip() == "nothing changed"


def test_a_reload_was_silent_about_services_that_only_leaves_out(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start("--only", "web")
    change(one, "  web: {command: sleep 600}\n  new: {command: sleep 600}\n")
    done = one.ampzero("reload", one.folder)
    assert done.code == 0, done
    assert done.out.strip() == "nothing changed"
    assert "left out, for the run was begun with --only: new" in done.err
    assert "type web=4, web=+1 or web=-1" in one.ampzero("scale", one.folder, "web").err


def test_a_changed_schedule_holds_at_once(make_running: MakeRunning) -> None:
    one = make_running("services:\n  cron: {command: 'true', schedule: '0 0 1 1 *'}\n").start()
    assert "-01-01 00:00" in one.process("cron")["reason"]
    change(one, "  cron: {command: 'true', schedule: '0 0 1 2 *'}\n")
    assert one.ampzero("reload", one.folder).code == 0
    assert "-02-01 00:00" in one.process("cron")["reason"]


def test_an_address_that_nobody_names_any_more_is_closed(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    import socket

    old, new = free_port(), free_port()
    one = make_running(f"services:\n  web: {{command: sleep 600, listen: {old}}}\n").start()
    socket.create_connection(("127.0.0.1", old), 30).close()
    change(one, f"  web: {{command: sleep 600, listen: {new}}}\n")
    assert one.ampzero("reload", one.folder).code == 0
    socket.create_connection(("127.0.0.1", new), 30).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old), 30)
