"""The plan is data, made by pure functions: tests compare plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib.assembly import assemble, choose
from lib.config import Config
from lib.errors import ConfigError, MissingError, UsageError
from lib.instance import Instance
from lib.kinds import KINDS
from lib.services.base import Context
from lib.supervisor.spec import Limits, Plan, Probe, ProcessSpec, Restart, ServiceSpec, Stop


def instance(folder: Path, services: dict[str, Any], **more: Any) -> Instance:
    return Instance(
        name="demo", root=folder / "root", var_name="demo", directory=folder,
        config_file=folder / "amprun.yaml", config=msgspec.convert({"services": services, **more}, Config),
    )  # fmt: skip


def context(one: Instance, **more: Any) -> Context:
    ports: dict[str, int] = {}

    def port(key: str, wanted: int) -> int:
        return ports.setdefault(key, wanted or 20000 + len(ports))

    return Context(
        instance=one,
        port=port,
        secret=lambda name: one.state / f"{name}.secret",
        launcher=("ampzero",),
        **more,
    )


def plan(folder: Path, services: dict[str, Any], only: tuple[str, ...] = (), **more: Any) -> Plan:
    one = instance(folder, services, **more)
    return assemble(context(one), choose(one, only=only), {"address": "here"}).plan


def test_the_whole_plan(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        {
            "web": {
                "command": "sleep $PORT", "port": "auto", "processes": 2, "env": {"LEVEL": "info"},
                "depends_on": {"db": "started"}, "stop": {"signal": "SIGINT", "timeout": "3s"},
                "ready": {"http": "/up", "deadline": "1m", "period": "5s", "failures": 2},
                "live": {"tcp": 7000, "period": "20s"}, "listen": [7000, "unix:run/web.sock"], "pty": True,
                "limits": {"memory": "200M", "files": 500, "cpu_time": "1m", "umask": "027", "nice": 3},
            },
            "nightly": {"command": "sleep 2", "schedule": "5 4 * * *"},
            "db": {
                "command": "sleep 1",
                "restart": {"policy": "on-failure", "initial": "1s", "max": "1m", "reset_after": "5m",
                            "give_up": {"times": 3, "within": "1h"}},
            },
        },
        logs={"segment": 2, "keep": 3, "age": "1d", "compress": False}, metrics=9100, on_crash="stop",
    )  # fmt: skip

    def web(number: int) -> ProcessSpec:
        port = 19999 + number
        return ProcessSpec(
            service="web", number=number, argv=("sleep", str(port)), cwd=str(tmp_path), ports=(port,),
            env={"LEVEL": "info", "PORT": str(port)},
            ready=Probe(kind="http", target=f"http://localhost:{port}/up", deadline=60.0,
                        period=5.0, failures=2),
            live=Probe(kind="tcp", target="localhost:7000", period=20.0), pty=True,
            listen=("127.0.0.1:7000", f"unix:{tmp_path}/run/web.sock"),
            limits=Limits(rlimits={"nofile": 500, "cpu": 60}, memory=200 * 1024**2, nice=3, umask=0o027),
        )  # fmt: skip

    assert found == Plan(
        name="demo", directory=str(tmp_path), var=str(tmp_path / "root/demo"),
        sockets=str(instance(tmp_path, {}).sockets), notes={"address": "here"},
        log_segment=2 * 1024 * 1024, log_keep=3, log_age=86400.0, log_compress=False,
        command=("ampzero",), target=(str(tmp_path),), metrics="127.0.0.1:9100", on_crash="stop",
        services=(
            ServiceSpec(
                name="db", kind="command",
                processes=(ProcessSpec(service="db", number=1, argv=("sleep", "1"), cwd=str(tmp_path)),),
                restart=Restart(policy="on-failure", initial=1.0, max=60.0, reset_after=300.0,
                                give_up_times=3, give_up_within=3600.0),
            ),
            ServiceSpec(
                name="web", kind="command", processes=(web(1), web(2)), depends_on={"db": "started"},
                stop=Stop(signal="INT", timeout=3.0),
            ),
            ServiceSpec(
                name="nightly", kind="command", schedule="5 4 * * *",
                processes=(ProcessSpec(service="nightly", number=1, argv=("sleep", "2"), cwd=str(tmp_path)),),
            ),
        ),
    )  # fmt: skip


def test_a_plan_survives_its_way_to_the_supervisor(tmp_path: Path) -> None:
    found = plan(tmp_path, {"web": {"command": "sleep 1", "port": 8000, "ready": {"exec": ["true"]}}})
    assert msgspec.json.decode(msgspec.json.encode(found), type=Plan) == found


def test_assembling_makes_nothing(tmp_path: Path) -> None:
    plan(tmp_path, {"web": {"command": "sleep 1"}, "redis": {"kind": "command", "command": "sleep 2"}})
    assert list(tmp_path.iterdir()) == []


def test_services_stand_after_what_they_need(tmp_path: Path) -> None:
    sleep = {"command": "sleep 1"}
    services = {
        "c": {**sleep, "depends_on": ["b"]},
        "b": {**sleep, "depends_on": ["a"]},
        "a": sleep,
        "d": sleep,
    }
    found = plan(tmp_path, services)
    assert [service.name for service in found.services] == ["a", "b", "c", "d"]
    assert found.services[2].depends_on == {"b": "ready"}


def test_only_leaves_the_others_and_the_dependencies_on_them_out(tmp_path: Path) -> None:
    sleep = {"command": "sleep 1"}
    services = {"a": sleep, "b": {**sleep, "depends_on": ["a"]}, "c": {**sleep, "depends_on": ["b"]}}
    found = plan(tmp_path, services, only=("c", "a"))
    assert [(service.name, service.depends_on) for service in found.services] == [("a", {}), ("c", {})]


def test_only_with_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no service 'x'"):
        choose(instance(tmp_path, {"a": {"command": "sleep 1"}}), only=["a", "x"])


def test_server_runs_what_a_server_runs(tmp_path: Path) -> None:
    kinds: dict[str, Any] = {kind: {} for kind in KINDS}
    one = instance(tmp_path, {**kinds, "cache": {"kind": "redis"}, "work": {"command": "sleep 1"}})
    assert list(choose(one, server=True)) == ["redis", "ampnode", "nginx", "cache", "work"]
    assert list(choose(one, only=["keyspace"], server=True)) == ["keyspace"]
    assert len(choose(one)) == 8


def test_env_wins_over_env_files_which_win_over_what_others_give(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("REDIS_URL=file\nA=file a\nB=file a\nC=file a\n")
    (tmp_path / "b.env").write_text("B=file b\nC=file b\n")
    one = instance(
        tmp_path,
        {
            "redis": {"port": 6000},
            "web": {
                "command": "sleep ${C}", "port": "auto", "env_file": ["a.env", "b.env"],
                "env": {"C": "env", "PORT": 1, "YES": True, "NUMBER": 1.5},
            },
        },
    )  # fmt: skip
    (tmp_path / "ampnode").mkdir()
    (tmp_path / "ampnode/redis.conf").write_text("")
    found = assemble(context(one), choose(one), {}).plan
    web = next(service for service in found.services if service.name == "web").processes[0]
    assert web.env["REDIS_URL"] == "file"
    assert web.env["REDIS_SOCKET"].endswith("redis.sock")
    assert (web.env["A"], web.env["B"], web.env["C"]) == ("file a", "file b", "env")
    assert (web.env["YES"], web.env["NUMBER"]) == ("true", "1.5")
    assert web.env["PORT"] == str(web.ports[0]) != "1"
    assert web.argv == ("sleep", "env")
    redis = next(service for service in found.services if service.name == "redis").processes[0]
    assert "A" not in redis.env


@pytest.mark.parametrize(
    ("content", "error"), [(None, MissingError), ("no equals sign here!\n", ConfigError)]
)
def test_an_env_file_that_is_wrong(tmp_path: Path, content: str | None, error: type[Exception]) -> None:
    if content is not None:
        (tmp_path / ".env").write_text(content)
    with pytest.raises(error, match=r"\.env"):
        plan(tmp_path, {"web": {"command": "sleep 1", "env_file": ".env"}})


def test_debug_is_in_the_plan(tmp_path: Path) -> None:
    one = instance(tmp_path, {"web": {"command": "sleep 1"}})
    assert assemble(context(one, debug=True), choose(one), {}).plan.debug
    assert not assemble(context(one), choose(one), {}).plan.debug


def test_nothing_to_run(tmp_path: Path) -> None:
    assert plan(tmp_path, {}).services == ()
