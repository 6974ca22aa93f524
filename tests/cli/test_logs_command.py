from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Ampzero, wait_for

from lib.logs.record import prefix, segment_name

SERVICES = "services:\n  web: {command: sleep 1}\n  worker: {command: sleep 1, processes: 2}\n"


class Instance:
    """A folder with an amprun.yaml, and a var folder whose logs are made by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder.parent / "var" / "demo" / "logs"
        self.sequences: dict[str, int] = {}

    def write(
        self, service: str, *texts: bytes, number: int = 1, stream: str = "out", ago: float = 0
    ) -> None:
        folder = self.logs / service
        folder.mkdir(parents=True, exist_ok=True)
        first = self.sequences.setdefault(service, 0)
        with (folder / segment_name(first)).open("ab") as segment:
            for text in texts:
                segment.write(prefix(time.time() - ago, number, stream) + text + b"\n")

    def rotate(self, service: str) -> None:
        segment = self.logs / service / segment_name(self.sequences[service])
        self.sequences[service] += segment.read_bytes().count(b"\n")


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "amprun.yaml").write_text(f"name: demo\namprun_root_directory: {tmp_path / 'var'}\n{SERVICES}")
    return Instance(folder)


@contextmanager
def following(
    ampzero: Ampzero, *arguments: str
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], bytes]]]:
    """`ampzero logs … -f` with what it has printed so far; ended at the end."""
    process = subprocess.Popen([ampzero.path, "logs", *arguments, "-f"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    handle = process.stdout.fileno()
    os.set_blocking(handle, False)
    printed = bytearray()

    def so_far() -> bytes:
        while True:
            try:
                block = os.read(handle, 65536)
            except BlockingIOError:
                return bytes(printed)
            if not block:
                return bytes(printed)
            printed.extend(block)

    try:
        yield process, so_far
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def run_bytes(ampzero: Ampzero, *arguments: str | Path) -> bytes:
    return subprocess.run(
        [ampzero.path, "logs", *arguments], capture_output=True, check=True, timeout=60
    ).stdout


def test_the_text_form(instance: Instance, ampzero: Ampzero) -> None:
    instance.write("web", b"first")
    instance.write("worker", b"second \xff\x00\x1b[31mred", number=2, stream="err")
    instance.write("worker", b"worker is up", number=0, stream="sys")
    out = run_bytes(ampzero, instance.folder)
    lines = out.splitlines()
    assert re.fullmatch(rb"\d\d:\d\d:\d\d\.\d{3} web\.1 \| first", lines[0])
    assert lines[1].endswith(b" worker.2 | second \xff\x00\x1b[31mred"), "bytes survive a pipe"
    assert lines[2].endswith(b" worker | worker is up")


def test_json_is_one_object_a_line(instance: Instance, ampzero: Ampzero) -> None:
    instance.write("web", "größe".encode(), b"\xff", b"")
    found = [json.loads(line) for line in run_bytes(ampzero, instance.folder, "--json").splitlines()]
    assert [one["text"] for one in found] == ["größe", "\ufffd", ""]
    assert found[1]["bytes"] == "/w=="
    assert set(found[0]) == {"time", "service", "process", "stream", "sequence", "text"}
    assert [one["sequence"] for one in found] == [0, 1, 2]


def test_what_is_asked_for_is_shown(instance: Instance, ampzero: Ampzero) -> None:
    instance.write("web", *(b"line %d" % index for index in range(150)), ago=600)
    instance.write("worker", b"one", number=1, ago=30)
    instance.write("worker", b"two", number=2, stream="err")

    def texts(*arguments: str) -> list[str]:
        found = run_bytes(ampzero, instance.folder, "--json", *arguments).splitlines()
        return [json.loads(line)["text"] for line in found]

    assert texts() == [f"line {index}" for index in range(52, 150)] + ["one", "two"]
    assert texts("-n", "1") == ["two"]
    assert texts("-n", "0") == []
    assert texts("web", "-n", "2") == ["line 148", "line 149"]
    assert texts("worker.2") == ["two"]
    assert texts("--since", "5m") == ["one", "two"]
    assert texts("--since", "10s") == ["two"]
    assert len(texts("--since", "1h")) == 152
    assert texts("--stream", "err") == ["two"]
    assert texts("--grep", "LINE 7", "-i", "-n", "3") == ["line 77", "line 78", "line 79"]
    assert texts("--grep", "LINE 7") == []


def test_bad_input_is_one_line(instance: Instance, ampzero: Ampzero) -> None:
    for arguments, said in (
        (("wep",), "no service 'wep'"),
        (("web.x",), "no service 'web.x'"),
        (("--since", "soon"), "--since 'soon': neither a duration nor a time"),
    ):
        result = ampzero("logs", instance.folder, *arguments)
        assert result.code == 2
        assert said in result.err
        assert len(result.err.splitlines()) == 2
        assert not result.out
    assert "did you mean 'web'?" in ampzero("logs", instance.folder, "wep").err
    assert ampzero("logs", "no-such-instance").code == 5


def test_an_instance_that_never_ran_has_an_empty_log(instance: Instance, ampzero: Ampzero) -> None:
    result = ampzero("logs", instance.folder)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_follow_from_before_the_start_over_rotation_and_restart(instance: Instance, ampzero: Ampzero) -> None:
    with following(ampzero, str(instance.folder), "--json") as (process, so_far):

        def texts() -> list[str]:
            return [json.loads(line)["text"] for line in so_far().splitlines()]

        instance.write("web", b"first")
        assert wait_for(lambda: texts() == ["first"])
        instance.rotate("web")
        instance.write("web", b"second")
        assert wait_for(lambda: texts() == ["first", "second"])
        (instance.logs / "web" / segment_name(0)).unlink()
        instance.write("worker", b"late")
        assert wait_for(lambda: texts() == ["first", "second", "late"])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_follow_ends_when_its_reader_does(instance: Instance, ampzero: Ampzero) -> None:
    instance.write("web", b"x")
    with subprocess.Popen(
        [ampzero.path, "logs", instance.folder, "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline().endswith(b"| x\n")
            process.stdout.close()
            assert process.wait(60) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()


def test_a_closed_pipe_is_no_error(instance: Instance, ampzero: Ampzero) -> None:
    instance.write("web", *[b"y" * 200] * 5000)
    with subprocess.Popen(
        [ampzero.path, "logs", instance.folder, "-n", "5000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_a_terminal_gets_colours_and_no_other_control_characters(
    instance: Instance, ampzero: Ampzero
) -> None:
    instance.write("web", b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J")
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    try:
        subprocess.run(
            [ampzero.path, "logs", instance.folder], stdout=slave, env=environment, check=True, timeout=60
        )
        shown = os.read(master, 65536)
    finally:
        os.close(slave)
        os.close(master)
    assert b"\x1b[31mred\x1b[0m ?]0;title? ?[2J" in shown
    assert re.search(rb"\x1b\[\d+mweb\.1 +\|\x1b\[0m ", shown)
