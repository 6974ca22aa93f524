"""What every Transport keeps: one suite for this machine and for a real sshd on the loopback."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sshd_support import Sshd, running_for_a_user
from support import wait_for

from deploy.transport import LocalTransport, Settings, Transport, open_transport
from deploy.transport.base import KILLED, TAIL
from lib.errors import StorageError, UnreachableError

SOON = 60.0
"""Seconds that nothing here should take."""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture(params=["local", "ssh"])
def opener(request: pytest.FixtureRequest) -> Callable[[], Transport]:
    if request.param == "local":
        return LocalTransport
    sshd: Sshd = request.getfixturevalue("sshd")
    settings = Settings(config=Path(os.devnull), known_hosts=sshd.known_hosts(), key=sshd.key)
    return lambda: open_transport(sshd.address, settings)


@pytest.fixture
def transport(opener: Callable[[], Transport]) -> Iterator[Transport]:
    with opener() as one:
        yield one


def deadline(seconds: float = SOON) -> float:
    return time.monotonic() + seconds


def until(path: Path) -> str:
    """A piece of shell that waits for a file."""
    return f"while ! [ -e {path} ]; do sleep 0.05; done"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_errors_and_exit_code_are_the_programs(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=SOON)
    assert (done.code, done.out, done.err) == (7, b"out\n", "err\n")


def test_arguments_arrive_as_they_are(transport: Transport) -> None:
    words = ["a b", "", "$HOME", "`id`", "it's", '"', "\\", "*", "a\nb", "é", "-n", ";", "!x", "%s"]
    done = transport.run(["python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *words], timeout=SOON)
    assert done.out.decode().strip() == ascii(words)


def test_a_program_that_is_not_there_is_exit_code_127(transport: Transport) -> None:
    done = transport.run(["no-such-program-anywhere"], timeout=SOON)
    assert done.code == 127
    assert "no-such-program-anywhere" in done.err


def test_a_program_that_is_killed_says_so(transport: Transport) -> None:
    assert transport.run(["sh", "-c", "kill -9 $$"], timeout=SOON).code == KILLED


def test_fifty_megabytes_go_there_and_back(transport: Transport) -> None:
    data = random.Random(1).randbytes(50_000_000)
    done = transport.run(["cat"], data, timeout=100)
    assert done.code == 0
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()


def test_input_that_nobody_reads_does_not_hold_up_the_end(transport: Transport) -> None:
    assert transport.run(["sh", "-c", "exit 3"], b"x" * 5_000_000, timeout=SOON).code == 3


def test_a_flood_of_errors_is_cut_to_its_last_and_blocks_nothing(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "yes | head -c 9000000 >&2; echo out; echo last >&2"], timeout=60)
    assert (done.code, done.out) == (0, b"out\n")
    assert done.err.endswith("y\nlast\n") and len(done.err) <= TAIL


def test_a_dialogue_line_by_line(transport: Transport) -> None:
    process = transport.start(["sh", "-c", 'while read line; do echo "<$line>"; done'], timeout=SOON)
    for word in (b"one", b"two"):
        process.write(word + b"\n", deadline())
        said = b""
        while not said.endswith(b"\n"):
            said += process.read(100, deadline())
        assert said == b"<" + word + b">\n"
    process.end_input()
    assert process.read(100, deadline()) == b""
    assert process.wait(deadline()) == 0


def test_two_programs_run_at_once(transport: Transport) -> None:
    one, two = (transport.start(["cat"], timeout=SOON) for _ in range(2))
    two.write(b"2", deadline())
    one.write(b"1", deadline())
    assert (one.read(9, deadline()), two.read(9, deadline())) == (b"1", b"2")


def test_what_takes_too_long_is_killed_and_an_error(transport: Transport, tmp_path: Path) -> None:
    pid, stop = tmp_path / "pid", tmp_path / "stop"
    with pytest.raises(UnreachableError, match=r"sh did not end within 3 s"):
        transport.run(["sh", "-c", f"echo $$ > {pid}; {until(stop)}"], timeout=3)
    if not can_kill(transport):
        stop.touch()
    assert wait_for(lambda: not alive(int(pid.read_text())))
    assert transport.run(["echo", "still"], timeout=SOON).out == b"still\n"


def test_reading_and_waiting_end_at_the_deadline(transport: Transport, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    process = transport.start(["sh", "-c", until(stop)], timeout=SOON)
    with pytest.raises(TimeoutError):
        process.read(1, deadline(0.1))
    with pytest.raises(TimeoutError):
        process.wait(deadline(0.1))
    with pytest.raises(TimeoutError):
        process.write(b"x" * 20_000_000, deadline(0.3))
    stop.touch()
    assert process.wait(deadline()) == 0


def test_killing_is_for_the_whole_program(transport: Transport) -> None:
    if not can_kill(transport):
        pytest.skip("OpenSSH kills nothing of root's; the next test is for a user")
    kill(transport)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root rights")
def test_what_a_user_runs_over_ssh_can_be_killed(tmp_path: Path) -> None:
    with running_for_a_user(tmp_path) as sshd:
        settings = Settings(config=Path(os.devnull), known_hosts=sshd.known_hosts(), key=sshd.key)
        with open_transport(sshd.address, settings) as transport:
            assert transport.run(["id", "-u"], timeout=SOON).out == b"54321\n"
            kill(transport)


def can_kill(transport: Transport) -> bool:
    return isinstance(transport, LocalTransport) or os.getuid() != 0


def kill(transport: Transport) -> None:
    process = transport.start(["sh", "-c", "sleep 600 & echo $!; wait"], timeout=SOON)
    child = int(process.read(20, deadline()))
    process.kill()
    assert process.wait(deadline()) == KILLED
    assert wait_for(lambda: not alive(child))
    process.kill()


def test_one_that_was_let_go_sees_the_end_of_its_input(transport: Transport, tmp_path: Path) -> None:
    process = transport.start(["sh", "-c", f"cat; echo ended > {tmp_path / 'mark'}"], timeout=SOON)
    process.write(b"x", deadline())
    assert process.read(9, deadline()) == b"x"
    process.close()
    process.close()
    assert wait_for((tmp_path / "mark").exists)


def test_one_that_was_let_go_finishes_what_it_does(transport: Transport, tmp_path: Path) -> None:
    go, mark = tmp_path / "go", tmp_path / "mark"
    process = transport.start(["sh", "-c", f"echo begun; {until(go)}; echo x > {mark}"], timeout=SOON)
    assert process.read(9, deadline()) == b"begun\n"
    threading.Thread(target=process.close).start()
    go.touch()
    assert wait_for(mark.exists)


def test_closing_the_transport_lets_go_of_everything(opener: Callable[[], Transport]) -> None:
    transport = opener()
    process = transport.start(["sh", "-c", "echo $$; exec cat"], timeout=SOON)
    pid = int(process.read(20, deadline()))
    transport.close()
    transport.close()
    assert wait_for(lambda: not alive(pid))


def test_put_replaces_a_file_with_its_mode(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "it's a file"
    path.write_text("old")
    data = os.urandom(300_000)
    transport.put(str(path), data, 0o640)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o7777 == 0o640
    transport.put(str(path), b"", 0o600)
    assert path.read_bytes() == b"" and path.stat().st_mode & 0o7777 == 0o600
    assert list(tmp_path.glob(f"{path.name}*")) == [path]


def test_put_where_nothing_can_be_is_an_error_that_says_why(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file/below: .*(d|D)irectory"):
        transport.put(str(tmp_path / "file/below"), b"x")
