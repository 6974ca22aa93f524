"""`ampzero metrics` and GET /metrics, read by Prometheus's own parser."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from running_support import Running
from support import wait_for

from lib.control.metrics import METRICS, expose
from lib.control.metrics_http import MetricsFace, names_us, parse
from lib.control.stats import Meter, Table, fill
from lib.errors import ConfigError, TakenError

MakeRunning = Callable[..., Running]
SERVICES = """services:
  web: {command: "sh -c 'sleep 600 & sleep 600'", processes: 2}
  db: {command: sleep 600}
"""
Samples = dict[tuple[str, str], float]


def read(text: str) -> Samples:
    """The samples by name and process (or service)."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            assert sample.name in METRICS
            key = sample.name, sample.labels.get("process", sample.labels.get("service", ""))
            assert key not in found
            found[key] = sample.value
    return found


def test_the_command_prints_what_the_parser_reads(make_running: MakeRunning) -> None:
    one = make_running(SERVICES).start()
    done = one.ampzero("metrics", one.folder)
    assert done.code == 0, done
    found = read(done.out)
    assert found["ampzero_up", ""] == found["ampzero_ready", ""] == 1
    assert found["ampzero_service_processes", "web"] == 2
    assert found["ampzero_service_dropped_log_lines_total", "web"] == 0
    for name in ("web.1", "web.2", "db.1"):
        assert found["ampzero_process_up", name] == found["ampzero_process_ready", name] == 1
        assert 0 < found["ampzero_process_uptime_seconds", name] < 60
        assert found["ampzero_process_resident_memory_bytes", name] > 100_000
        assert found["ampzero_process_open_fds", name] >= 3
        assert found["ampzero_process_cpu_seconds_total", name] >= 0
    assert found["ampzero_process_tree_processes", "web.1"] == 3
    assert found["ampzero_process_tree_processes", "db.1"] == 1
    resident = found["ampzero_supervisor_resident_memory_bytes", ""]
    assert resident < 40 * 1024 * 1024
    one.stop("db")
    found = read(one.ampzero("metrics", one.folder).out)
    assert found["ampzero_service_wanted", "db"] == found["ampzero_process_up", "db.1"] == 0
    assert ("ampzero_process_resident_memory_bytes", "db.1") not in found


def test_restarts_are_counted(make_running: MakeRunning) -> None:
    one = make_running(SERVICES).start()
    os.kill(one.pid("db"), 9)
    one.until(lambda: one.process("db")["restarts"] == 1)
    found = read(one.ampzero("metrics", one.folder).out)
    assert found["ampzero_process_restarts_total", "db.1"] == 1


def test_nothing_runs(make_running: MakeRunning) -> None:
    one = make_running(SERVICES)
    assert one.ampzero("metrics", one.folder).code == 10


def test_json_has_cpu_and_memory(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  busy: {command: \"sh -c 'while :; do :; done'\"}\n  idle: {command: sleep 600}\n"
    )
    one.start()

    def measured() -> bool:
        found = json.loads(one.ampzero("metrics", one.folder, "--json").out)
        busy, idle = (service["processes"][0] for service in found["services"])
        # How much of a processor it gets is the machine's affair; with many others at work it is little.
        return bool(busy["cpu"] > 2 > idle["cpu"] and idle["memory"] > 100_000)

    assert wait_for(measured)


def status(**more: Any) -> dict[str, Any]:
    process = {
        "name": "web.1",
        "number": 1,
        "pid": os.getpid(),
        "state": "ready",
        "uptime": 1.5,
        "restarts": 3,
    }
    service = {"name": "web", "wanted": True, "dropped_lines": 7, "processes": [process]}
    return {"name": "demo", "state": "ready", "services": [service],
            "supervisor": {"pid": os.getpid(), "started": "2026-11-20T21:05:35.123456Z"}, **more}  # fmt: skip


def test_labels_are_escaped() -> None:
    strange = 'a"b\\c\nd}{,é'
    families = list(text_string_to_metric_families(expose(status(name=strange))))
    assert {sample.labels["name"] for family in families for sample in family.samples} == {strange}
    assert read(expose(status()))["ampzero_service_dropped_log_lines_total", "web"] == 7


def test_http_by_option(free_port: Callable[[], int]) -> None:
    port = free_port()

    async def serve() -> None:
        face = MetricsFace(port, status)
        await face.open()
        base = f"http://127.0.0.1:{port}"
        answers = await asyncio.gather(*(asyncio.to_thread(get, f"{base}/metrics") for _ in range(5)))
        for text, kind in answers:
            assert kind == "text/plain; version=0.0.4; charset=utf-8"
            assert read(text)["ampzero_up", ""] == 1
        for path, code in (("/", 404), ("/metrics/../etc/passwd", 404)):
            with pytest.raises(urllib.error.HTTPError) as error:
                await asyncio.to_thread(get, base + path)
            assert error.value.code == code
        with pytest.raises(TakenError):
            MetricsFace(port, status)
        await face.close()
        with pytest.raises(urllib.error.URLError):
            await asyncio.to_thread(get, f"{base}/metrics")

    asyncio.run(serve())


def get(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 -- our own address
        return answer.read().decode(), answer.headers["Content-Type"]


@pytest.mark.parametrize(
    ("host", "good"),
    [("127.0.0.1:9100", True), ("localhost", True), ("LOCALHOST:1", True), ("[::1]:9100", True),
     ("::1", False), ("10.0.0.5:9100", True), (socket.gethostname(), True), ("", True),
     ("evil.example:9100", False), ("localhost.evil.example", False),
     ("127.0.0.1.evil.example", False), ("[evil]", False), (":", False)],
)  # fmt: skip
def test_a_page_with_a_name_of_its_own_could_read_metrics(host: str, good: bool) -> None:
    assert names_us(host) is good


def test_http_refuses_a_name_that_is_not_ours(free_port: Callable[[], int]) -> None:
    port = free_port()

    async def serve() -> None:
        face = MetricsFace(port, status)
        await face.open()
        for host, code in (("evil.example", 421), ("localhost", 200)):
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Host": host})
            try:
                found = (await asyncio.to_thread(urllib.request.urlopen, asked, None, 10)).status
            except urllib.error.HTTPError as error:
                found = error.code
            assert found == code
        await face.close()

    asyncio.run(serve())


def test_http_of_a_running_instance(make_running: MakeRunning, free_port: Callable[[], int]) -> None:
    port = free_port()
    make_running(f"metrics: {port}\n{SERVICES}").start()
    text, _ = get(f"http://127.0.0.1:{port}/metrics")
    assert read(text)["ampzero_process_up", "db.1"] == 1


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (9100, ("127.0.0.1", 9100)),
        ("9100", ("127.0.0.1", 9100)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("[::1]:2", ("::1", 2)),
    ],
)
def test_addresses(address: str | int, where: tuple[str, int]) -> None:
    assert parse(address) == where


@pytest.mark.parametrize("address", ["", "x", "host:", "1:99999", 0, "-1", "٣", "1" * 5000])
def test_addresses_that_are_none(address: str | int) -> None:
    with pytest.raises(ConfigError):
        parse(address)


def test_fill_is_cheap_for_many() -> None:
    import time

    found = status()
    found["services"][0]["processes"] *= 500
    begin = time.process_time()
    fill(found, Meter(), Table())
    assert time.process_time() - begin < 1.0
    assert found["services"][0]["processes"][0]["memory"] > 1_000_000
