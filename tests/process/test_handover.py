"""The supervisor's process waits for its plan, and gets it with the open files that belong to it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from running_support import Running, carrying, wait_gone
from support import wait_for

from lib.supervisor import handover
from lib.supervisor.launch import Launch
from lib.supervisor.spec import Plan

MakeRunning = Callable[..., Running]

WAITS_FOR_ITS_PLAN = "services:\n  web: {command: sleep 600, env_file: variables}\n"
"""`variables` is a named pipe: the plan is made when somebody writes to it."""


@contextmanager
def slow_plan(one: Running) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A `run` that is making its plan, and the pid of the supervisor that waits for it."""
    os.mkfifo(one.folder / "variables")
    mark = f"TEST_HANDOVER={one.folder}"
    name, _, value = mark.partition("=")
    starter = subprocess.Popen(
        [one.ampzero.path, "run", one.folder], stderr=subprocess.PIPE, env={**os.environ, name: value}
    )

    def waiting() -> set[int]:
        return set(carrying(mark)) - {starter.pid}

    try:
        assert wait_for(waiting)
        (pid,) = waiting()
        yield starter, pid
    finally:
        for left in carrying(mark):
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        starter.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_starter_that_is_ended_while_it_makes_its_plan_leaves_no_process(
    make_running: MakeRunning, number: signal.Signals
) -> None:
    one = make_running(WAITS_FOR_ITS_PLAN)
    with slow_plan(one) as (starter, waiting):
        starter.send_signal(number)
        starter.wait(60)
        assert wait_gone(waiting)
    assert (one.var / "run/supervisor.err").read_text() == ""
    assert one.ampzero("status", one.folder).code == 10


def test_a_supervisor_that_is_killed_while_it_waits_is_named(make_running: MakeRunning) -> None:
    one = make_running(WAITS_FOR_ITS_PLAN)
    with slow_plan(one) as (starter, waiting):
        os.kill(waiting, signal.SIGKILL)
        (one.folder / "variables").write_text("A=b\n")
        assert starter.wait(60) == 1
        assert starter.stderr is not None
        assert b"the supervisor ended before it was ready" in starter.stderr.read()
    assert one.ampzero("status", one.folder).code == 10


def test_a_plan_that_fails_says_why_and_leaves_no_process(make_running: MakeRunning) -> None:
    one = make_running(WAITS_FOR_ITS_PLAN)
    with slow_plan(one) as (starter, waiting):
        (one.folder / "variables").write_text("no variable\n")
        assert starter.wait(60) == 4
        # It has been waited for, too: not even a zombie is left.
        assert not Path(f"/proc/{waiting}").exists()
        assert starter.stderr is not None
        said = starter.stderr.read().decode()
    assert said.startswith("ampzero: error: ") and "variables:1" in said.splitlines()[0], said
    assert "Traceback" not in said
    assert (one.var / "run/supervisor.err").read_text() == ""


def test_more_held_ports_than_one_message_carries(make_running: MakeRunning) -> None:
    # Each is held on IPv4 and on IPv6: 300 and more, in two messages.
    one = make_running(
        "services:\n  web:\n    {command: sh web.sh, processes: 150, port: auto, ready: {log: up}}\n",
        {"web.sh": "echo up\nexec sleep 600\n"},
    )
    assert one.start().stop().code == 0


def launch_of(held: dict[int, tuple[int, ...]], lock: int) -> Launch:
    """A Launch of an empty plan."""
    plan = Plan(name="x", directory="/", var="/", sockets="/", services=())
    return Launch(plan=plan, lock=lock, held=held)


def test_every_descriptor_arrives_under_the_port_that_it_keeps() -> None:
    ours, its = socket.socketpair()
    files = [os.memfd_create(str(number)) for number in range(600)]
    got: list[int] = []
    try:
        with ours, its:
            sent = launch_of(
                {port: (files[2 * port - 1], files[2 * port]) for port in range(1, 300)}, files[0]
            )
            handover.send(ours, sent)
            launch = handover.receive(its)
            assert launch is not None
            got = launch.descriptors()
            assert launch.plan == sent.plan and launch.held.keys() == sent.held.keys()
            for mine, theirs in zip(got, sent.descriptors(), strict=True):
                assert mine != theirs and not os.get_inheritable(mine)
                assert os.fstat(mine).st_ino == os.fstat(theirs).st_ino
    finally:
        for handle in (*files, *got):
            os.close(handle)


def test_a_starter_that_goes_half_way_hands_nothing_over() -> None:
    ours, its = socket.socketpair()
    with its, closing(ours):
        file = os.memfd_create("launch")
        os.write(file, b"{}")
        os.close(file)
        ours.close()
        assert handover.receive(its) is None


def test_too_few_open_files_to_take_everything_over_is_an_error() -> None:
    ours, its = socket.socketpair()
    files = [os.memfd_create(str(number)) for number in range(40)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with ours, its:
            handover.send(ours, launch_of({1: tuple(files[1:])}, files[0]))
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(files) + 10, before[1]))
            with pytest.raises(OSError, match="too few open files"):
                handover.receive(its)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for handle in files:
            os.close(handle)
