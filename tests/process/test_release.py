"""A reload whose new files do not work: the service is back with its old files, whatever was killed."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running_support import Running, alive, kill, wait_gone

from lib.errors import StorageError
from lib.services.templated import TEMPLATES
from lib.supervisor.release import NewFile, Release

MakeRunning = Callable[..., Running]

SILENT = "\nport 0\n"
"""redis starts with it, and no probe reaches it."""


@pytest.fixture
def redis(make_running: MakeRunning, free_port: Callable[[], int]) -> Running:
    """An instance with a redis whose configuration is the folder's own."""
    port = free_port()
    one = make_running(f"services:\n  redis: {{port: {port}, ready: {{redis: {port}, deadline: 5s}}}}\n")
    (one.folder / "ampnode").mkdir()
    write(one, "")
    return one.start()


def write(one: Running, more: str) -> None:
    (one.folder / "ampnode/redis.conf").write_text((TEMPLATES / "ampnode/redis.conf").read_text() + more)


def most_clients(one: Running) -> int:
    """The `maxclients` of the server that answers now; also of one whose CONFIG is taken away."""
    with socket.create_connection(("127.0.0.1", one.process("redis")["ports"][0]), 5) as client:
        client.sendall(b"INFO clients\r\n")
        said = client.recv(10_000).decode()
    return int(said.partition("maxclients:")[2].split()[0])


def conf(one: Running) -> Path:
    return one.var / "conf/redis.conf"


@pytest.mark.parametrize("bad", ["\nno-such-directive yes\n", SILENT])
def test_a_reload_that_failed_left_the_old_redis_on_the_new_file(redis: Running, bad: str) -> None:
    write(redis, "\nmaxclients 321\n")
    assert redis.ampzero("reload", redis.folder).code == 0
    good = conf(redis).read_text()
    assert most_clients(redis) == 321
    write(redis, f"\nmaxclients 123\n{bad}")
    done = redis.ampzero("reload", redis.folder)
    assert done.code == 6, done
    assert "the old one is back" in done.err
    assert conf(redis).read_text() == good
    assert [path.name for path in conf(redis).parent.iterdir()] == ["redis.conf"]
    assert most_clients(redis) == 321
    # Also what starts later, by itself or by command, is the old one.
    kill(pid := redis.pid("redis"))
    redis.until(lambda: redis.pid("redis") != pid and redis.process("redis")["state"] == "ready")
    assert most_clients(redis) == 321
    assert redis.ampzero("restart", redis.folder, "redis").code == 0
    assert most_clients(redis) == 321
    write(redis, "\nmaxclients 123\n")
    assert redis.ampzero("reload", redis.folder).code == 0
    assert most_clients(redis) == 123


def test_a_reload_that_failed_left_a_service_that_had_given_up_on_the_new_file(redis: Running) -> None:
    redis.stop("redis")
    old = conf(redis).read_text()
    write(redis, "\nno-such-directive yes\n")
    assert redis.ampzero("reload", redis.folder).code == 0, "it does not run: nothing to fail"
    assert redis.ampzero("start", redis.folder, "redis").code == 6
    given_up = redis.process("redis")["state"]
    write(redis, "\nanother-directive yes\n")
    middle = conf(redis).read_text()
    assert redis.ampzero("reload", redis.folder).code == 6
    assert redis.process("redis")["state"] == given_up
    assert conf(redis).read_text() == middle != old
    write(redis, "")
    done = redis.ampzero("reload", redis.folder)
    assert done.code == 0, done
    assert redis.process("redis")["state"] == "ready"


def _begin_reload(one: Running) -> subprocess.Popen[bytes]:
    write(one, f"\nmaxclients 123\n{SILENT}")
    pid = one.pid("redis")
    client = subprocess.Popen([one.ampzero.path, "reload", one.folder], stderr=subprocess.DEVNULL)
    # The new one runs, and will never be ready.
    one.until(lambda: one.process("redis")["pid"] not in (None, pid))
    return client


def test_a_killed_reload_is_finished_by_the_supervisor(redis: Running) -> None:
    good = conf(redis).read_text()
    client = _begin_reload(redis)
    client.kill()
    client.wait()
    redis.until(lambda: redis.process("redis")["state"] == "ready")
    assert conf(redis).read_text() == good
    write(redis, "")
    assert redis.ampzero("reload", redis.folder).out.strip() == "nothing changed"


def test_a_supervisor_killed_in_a_reload_left_a_process_of_the_other_file(redis: Running) -> None:
    client = _begin_reload(redis)
    kill(supervisor := redis.supervisor)
    assert wait_gone(supervisor)
    assert client.wait(60) != 0
    new = next(pid for pid in _servers(redis) if alive(pid))
    write(redis, "\nmaxclients 321\n")
    done = redis.run()
    assert done.code == 0, done
    assert not alive(new), "it has the file of a reload that never was"
    assert most_clients(redis) == 321
    assert redis.ampzero("reload", redis.folder).out.strip() == "nothing changed"


def test_a_redis_was_taken_over_although_its_file_is_another_now(redis: Running) -> None:
    pid = redis.pid("redis")
    kill(supervisor := redis.supervisor)
    assert wait_gone(supervisor)
    assert redis.run().code == 0
    assert redis.pid("redis") == pid
    kill(supervisor := redis.supervisor)
    assert wait_gone(supervisor)
    write(redis, "\nmaxclients 321\n")
    assert redis.run().code == 0
    assert redis.pid("redis") != pid
    assert most_clients(redis) == 321


def test_an_export_wrote_the_files_of_a_running_redis(redis: Running, tmp_path: Path) -> None:
    before = conf(redis).read_text()
    write(redis, "\nmaxclients 321\n")
    export = ("export", "procfile", redis.folder, "--output", tmp_path / "out")
    done = redis.ampzero(*export)
    assert done.code == 7, done
    assert conf(redis).read_text() == before
    assert redis.ampzero("reload", redis.folder).code == 0
    done = redis.ampzero(*export)
    assert done.code == 0, done


def _servers(one: Running) -> list[int]:
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if (command := _command(folder))
        and b"redis-server" in command
        and str(one.root).encode() in _cwd(folder)
    ]


def _command(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def _cwd(folder: Path) -> bytes:
    try:
        return bytes((folder / "cwd").readlink())
    except OSError:
        return b""


def test_a_release_comes_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "folder/second"
    first.write_text("old")
    files = {str(first): NewFile("new"), str(second): NewFile("new")}
    with pytest.raises(StorageError):
        Release(files).install()
    assert first.read_text() == "old"
    second.parent.mkdir()
    release = Release(files)
    release.install()
    assert (first.read_text(), second.read_text()) == ("new", "new")
    release.restore()
    assert first.read_text() == "old"
    assert not second.exists()
    release.restore()
    release.install()
    release.keep()
    release.restore()
    assert (first.read_text(), second.read_text()) == ("new", "new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["first", "folder", "second"]


def test_a_release_goes_back_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "redis.conf"
    path.write_text("old\n")
    release = Release({str(path): NewFile("new\n")})
    release.install()
    (small_disk / "ballast").write_bytes(b"")
    with pytest.raises(OSError), (small_disk / "ballast").open("wb") as stream:
        while True:
            stream.write(bytes(65536))
            stream.flush()
    release.restore()
    assert path.read_text() == "old\n"
    with pytest.raises(StorageError):
        Release({str(path): NewFile("x" * 100_000)}).install()
    assert path.read_text() == "old\n"
    assert not list(small_disk.glob("*.before"))
