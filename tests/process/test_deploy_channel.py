"""The agent comes to a host, is asked, and goes: by a real stub and a real agent, here and over SSH."""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sshd_support import Sshd
from support import wait_for

from deploy import bootstrap
from deploy.channel import Channel
from deploy.transport import LocalTransport, Settings, Transport, open_transport
from lib.errors import AmpzeroError, UnreachableError

OLD = [
    str(path)
    for name in ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10")
    for path in [
        *Path("/usr/bin").glob(f"python{name}"),
        *Path.home().glob(f".pyenv/versions/{name}.*/bin/python"),
    ]
]
"""Pythons that are too old for an agent, as many as this machine has."""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH here; `python3` in it is this Python."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.fixture(params=["local", "ssh"])
def opener(request: pytest.FixtureRequest) -> Callable[[], Transport]:
    if request.param == "local":
        request.getfixturevalue("bin_folder")
        return LocalTransport
    sshd: Sshd = request.getfixturevalue("sshd")
    settings = Settings(config=Path(os.devnull), known_hosts=sshd.known_hosts(), key=sshd.key)
    return lambda: open_transport(sshd.address, settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def ask(transport: Transport, root: Path, op: str = "nothing-of-this-name") -> str:
    """The message of the agent that knows no such operation: proof that it runs."""
    channel = Channel.open(transport, str(root), name="host-1")
    try:
        with pytest.raises(AmpzeroError) as caught:
            channel.call(op, timeout=60)
        return caught.value.message
    finally:
        channel.close()


KNOWS_NOT = "host-1: this agent knows no operation 'nothing-of-this-name'"


def cached(root: Path) -> Path:
    return root / f"agent/agent-{bootstrap.bundle().sha256[:16]}.pyz"


def test_the_agents_code_is_sent_once(opener: Callable[[], Transport], root: Path) -> None:
    assert ask(opener(), root) == KNOWS_NOT
    assert cached(root).read_bytes() == bootstrap.bundle().data
    made = cached(root).stat()
    assert ask(opener(), root) == KNOWS_NOT
    assert cached(root).stat().st_mtime_ns == made.st_mtime_ns
    assert list(cached(root).parent.iterdir()) == [cached(root)]


def test_code_that_was_changed_on_the_host_is_not_run_but_sent_again(
    opener: Callable[[], Transport], root: Path
) -> None:
    cached(root).parent.mkdir()
    cached(root).write_bytes(b"import os; os.abort()".ljust(len(bootstrap.bundle().data)))
    assert ask(opener(), root) == KNOWS_NOT
    assert cached(root).read_bytes() == bootstrap.bundle().data


def test_a_host_without_the_root_folder_is_left_as_it_is(opener: Callable[[], Transport], root: Path) -> None:
    assert ask(opener(), root / "missing") == KNOWS_NOT
    assert list(root.iterdir()) == []


def test_an_agent_that_cannot_be_kept_runs_all_the_same(root: Path, bin_folder: Path) -> None:
    (root / "agent").write_text("something else is here")
    assert ask(LocalTransport(), root) == KNOWS_NOT


def test_an_archive_is_the_same_bytes_each_time() -> None:
    first = bootstrap.bundle()
    bootstrap._made.cache_clear()
    assert bootstrap.bundle() == first


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root rights")
@pytest.mark.parametrize("as_root", [False, True])
def test_root_becomes_the_owner_of_the_root_folder_but_for_the_setup(
    root: Path, bin_folder: Path, as_root: bool
) -> None:
    (bin_folder / "python3").unlink()  # this Python may be in a home that the owner cannot look into
    (bin_folder / "python3").symlink_to("/usr/bin/python3")
    for path in [root, *root.parents][:-2]:  # the pytest folders are root's alone
        path.chmod(path.stat().st_mode | 0o011)
    os.chown(root, 65534, 65534)
    channel = Channel.open(LocalTransport(), str(root), name="host-1", as_root=as_root)
    try:
        status = Path(f"/proc/{agent_of(root)}/status").read_text()
        wanted = "0" if as_root else "65534"
        for line in ("Uid:", "Gid:"):
            found = next(each for each in status.splitlines() if each.startswith(line)).split()[1:]
            assert found == [wanted] * 4
        groups = next(each for each in status.splitlines() if each.startswith("Groups:")).split()[1:]
        assert as_root or groups == ["65534"]
        assert cached(root).exists() is not as_root
    finally:
        channel.close()


def is_agent(folder: Path, root: Path) -> bool:
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[-3:] == [b"serve", str(root).encode(), b""]


def agent_of(root: Path) -> int:
    """The process of the agent: the stub becomes it soon after it has the code."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if is_agent(folder, root)]
        return len(found) == 1

    assert wait_for(look)
    return found[0]


def test_what_the_shell_prints_first_is_skipped(bin_folder: Path, root: Path) -> None:
    (bin_folder / "python3").unlink()
    (bin_folder / "python3").write_text(
        f'#!/bin/sh\necho \'Welcome! ampzero-agent ["old"]\'\necho errors >&2\nexec {sys.executable} "$@"\n'
    )
    (bin_folder / "python3").chmod(0o755)
    assert ask(LocalTransport(), root) == KNOWS_NOT


def test_a_shell_that_prints_without_an_end_is_an_error(bin_folder: Path, root: Path) -> None:
    (bin_folder / "python3").unlink()
    (bin_folder / "python3").write_text("#!/bin/sh\nwhile echo '\x1b[2Jnoise'; do :; done\n")
    (bin_folder / "python3").chmod(0o755)
    with pytest.raises(UnreachableError, match="host-1: its shell prints too much") as caught:
        Channel.open(LocalTransport(), str(root), name="host-1")
    assert "\x1b" not in caught.value.message


def test_a_host_without_python_is_one_line(bin_folder: Path, root: Path) -> None:
    (bin_folder / "python3").unlink()
    with pytest.raises(UnreachableError, match=r"^host-1: no python3 on the host$") as caught:
        Channel.open(LocalTransport(), str(root), name="host-1")
    assert "3.11" in caught.value.hint


@pytest.mark.skipif(not OLD, reason="no old Python is here")
@pytest.mark.parametrize("python", OLD)
def test_an_old_python_is_one_line_that_names_it(bin_folder: Path, root: Path, python: str) -> None:
    (bin_folder / "python3").unlink()
    (bin_folder / "python3").write_text(f'#!/bin/sh\n[ "$1" = -I ] && shift\nexec {python} "$@"\n')
    (bin_folder / "python3").chmod(0o755)
    with pytest.raises(UnreachableError, match=r"^host-1: its python3 is [23]\.\d+\.\d+$"):
        Channel.open(LocalTransport(), str(root), name="host-1")


def test_the_stub_is_parsed_by_old_pythons() -> None:
    ast.parse(bootstrap.STUB, feature_version=(3, 4))


def test_an_agent_that_does_not_answer_in_time_is_unreachable(
    opener: Callable[[], Transport], root: Path
) -> None:
    channel = Channel.open(opener(), str(root), name="host-1")
    pid = agent_of(root)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(UnreachableError, match=r"host-1: no answer to hello within 0.5 s"):
            channel.call("hello", timeout=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
        channel.close()
    assert wait_for(lambda: not is_agent(Path(f"/proc/{pid}"), root))


def test_an_agent_that_is_killed_is_unreachable(opener: Callable[[], Transport], root: Path) -> None:
    channel = Channel.open(opener(), str(root), name="host-1")
    pid = agent_of(root)
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(UnreachableError, match=r"host-1: .*: the connection was lost"):
        for _ in range(100_000):
            try:
                channel.call("nothing", timeout=60)
            except UnreachableError:
                raise
            except AmpzeroError:
                continue
    channel.close()


def test_an_agent_ends_with_its_channel(opener: Callable[[], Transport], root: Path) -> None:
    channel = Channel.open(opener(), str(root), name="host-1")
    pid = agent_of(root)
    channel.close()
    assert wait_for(lambda: not is_agent(Path(f"/proc/{pid}"), root))


def test_what_is_too_long_to_ask_is_said_and_the_channel_stays(root: Path, bin_folder: Path) -> None:
    channel = Channel.open(LocalTransport(), str(root), name="host-1")
    with pytest.raises(AmpzeroError, match=r"host-1: cannot ask for put: .* too long"):
        channel.call("put", b"x" * ((1 << 20) + 1), timeout=30)
    with pytest.raises(AmpzeroError, match="knows no operation"):
        channel.call("nothing", timeout=30)
    channel.close()
