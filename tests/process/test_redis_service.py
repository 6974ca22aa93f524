"""The redis service's files and process, run for real."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import redis
from spec_runner import instance_at, running, service_of

from lib.config import ServiceConfig
from lib.errors import ConfigError


def test_ready_over_the_socket_and_the_port_and_keeps_its_data(tmp_path: Path) -> None:
    instance = instance_at(tmp_path)
    first = service_of(instance, "redis")
    given = first.environment()
    with running(first, given) as run:
        with redis.Redis.from_url(given["REDIS_URL"]) as client:
            client.set("kept", "yes")
        with redis.Redis(port=int(given["REDIS_PORT"])) as client:
            assert client.get("kept") == b"yes"
        mode = Path(given["REDIS_SOCKET"]).stat().st_mode
        assert stat.S_IMODE(mode) == 0o700
        assert run.stop() == 0
    again = service_of(instance, "redis")
    assert again.environment() == given, "the port is kept from run to run"
    with running(again, given), redis.Redis.from_url(given["REDIS_URL"]) as client:
        assert client.get("kept") == b"yes"


def test_a_killed_redis_starts_again_with_what_was_written(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "redis")
    given = service.environment()
    with running(service, given) as run:
        with redis.Redis.from_url(given["REDIS_URL"]) as client:
            client.set("written", "1")
        run.stop("KILL")
    with running(service, given), redis.Redis.from_url(given["REDIS_URL"]) as client:
        assert client.get("written") == b"1"


@pytest.mark.parametrize(
    "line", ["CONFIG SET dir /tmp", "MODULE LIST", "REPLICAOF 127.0.0.1 1", "SLAVEOF NO ONE", "DEBUG JMAP"]
)
def test_commands_that_reach_out_of_redis_are_gone(shared_redis: str, line: str) -> None:
    with (
        redis.Redis.from_url(shared_redis) as client,
        pytest.raises(redis.ResponseError, match="unknown command"),
    ):
        client.execute_command(*line.split())


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # a generator fixture
    service = service_of(instance_at(tmp_path_factory.mktemp("redis")), "redis")
    given = service.environment()
    with running(service, given):
        yield given["REDIS_URL"]


def test_more_than_one_process_is_a_configuration_error(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "redis", config=ServiceConfig(processes=2))
    with pytest.raises(ConfigError, match=r"services\.redis\.processes"):
        service.processes({})


def test_no_process_gives_nothing(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "redis", config=ServiceConfig(processes=0))
    assert service.processes({}) == []
    assert service.environment() == {}


def test_a_wrong_template_is_an_error_with_its_line(tmp_path: Path) -> None:
    instance = instance_at(tmp_path)
    (instance.directory / "ampnode").mkdir()
    (instance.directory / "ampnode/redis.conf").write_text("port 1\nbind {{ nowhere }}\n")
    with pytest.raises(ConfigError, match=r"redis\.conf:2"):
        service_of(instance, "redis").files({})
