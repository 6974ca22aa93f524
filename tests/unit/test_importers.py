"""What every importer must do, and what each of them carries over."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from importers_support import FORMATS, write

from lib import envfile, importers
from lib.checks.config import RESERVED_NAMES
from lib.config import ServiceConfig
from lib.errors import AmpzeroError, ConfigError, MissingError, UsageError
from lib.importers.base import Imported
from lib.importers.instance import instance_of


def words(service: ServiceConfig) -> list[str]:
    return shlex.split(service.command) if isinstance(service.command, str) else list(service.command or [])


def environment(service: ServiceConfig, folder: Path) -> dict[str, str]:
    files = [service.env_file] if isinstance(service.env_file, str) else service.env_file or []
    found = {key: value for name in files for key, value in envfile.load(folder / name).items()}
    return found | {key: str(value) for key, value in service.env.items()}


@pytest.mark.parametrize("form", importers.NAMES)
def test_the_same_application_gives_the_same_services(form: str, tmp_path: Path) -> None:
    path = write(tmp_path, form)
    found = importers.read(path)
    assert found.notes == []
    services = instance_of(found).config.services
    assert sorted(words(service)[2] for service in services.values()) == ["scheduler", "web", "worker"]
    for service in services.values():
        assert words(service)[:2] == ["python3", "app.py"]
        assert environment(service, tmp_path)["MODE"] == "test"
        assert (service.processes, service.restart.policy) == (1, "always")
        assert (tmp_path / service.cwd).resolve() == tmp_path
    assert words(services["worker"])[2:] == ["worker", "--queue", "a b"]


@pytest.mark.parametrize("form", importers.NAMES)
def test_the_format_is_found_by_the_content_too(form: str, tmp_path: Path) -> None:
    path = write(tmp_path, form)
    other = path.rename(tmp_path / ("x" if form == "procfile" else f"x{path.suffix}"))
    assert list(importers.read(other).services) == list(importers.read(other, form).services)
    assert len(importers.read(other).services) == 3


@pytest.mark.parametrize("form", importers.NAMES)
def test_a_file_without_services_is_an_error_with_its_line(form: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(ConfigError) as caught:
        importers.read(path, form)
    assert caught.value.message.startswith(f"{path}:1: ")


@pytest.mark.parametrize("form", importers.NAMES)
def test_what_is_not_text_or_too_large_is_refused(form: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for raw in (b"a: b\n\xff\xfe", b"#" * 1_000_001):
        path.write_bytes(raw)
        with pytest.raises(ConfigError):
            importers.read(path, form)


@pytest.mark.parametrize("form", importers.NAMES)
@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_bytes_raise_anything_but_our_errors(form: str, data: st.DataObject, tmp_path: Path) -> None:
    text = FORMATS[form][1]
    # Pieces of a good file with foreign bytes in between come further than bytes alone.
    cut = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=4)))
    strange = data.draw(
        st.binary(max_size=40) | st.sampled_from([b"%(x)s", b"$(circus.env.x)", b"${A:?b}", b"[[]", b"-1"])
    )
    raw = text[: cut[0]].encode() + strange + text[cut[1] :].encode()
    path = tmp_path / "file"
    path.write_bytes(raw)
    try:
        found = importers.read(path, form)
        instance_of(found)
    except AmpzeroError as error:
        assert str(path) in error.message
    else:
        assert found.services


def imported(folder: Path, name: str, text: str) -> tuple[Imported, dict[str, ServiceConfig]]:
    path = folder / name
    path.write_text(text)
    found = importers.read(path)
    return found, instance_of(found).config.services


def notes(found: Imported) -> list[str]:
    return [str(note).removeprefix(f"{found.file.parent}/") for note in found.notes]


def test_what_circus_loses_and_keeps(tmp_path: Path) -> None:
    found, services = imported(tmp_path, "circus.ini", (
        "[circus]\nstatsd = True\n[watcher:Big One]\ncmd = run.sh\nnumprocesses = 3\nuse_sockets = True\n"
        "stop_signal = INT\ngraceful_timeout = 4\nmax_retry = 7\nrespawn = False\n"
        "stdout_stream.class = FileStream\n"
        "rlimit_nofile = 100\nhooks.before_start = a.b\n[socket:s]\nport = 80\n[plugin:p]\nuse = x\n"
        "[env:Big One]\nA = 1\n"
    ))  # fmt: skip
    big = services["big-one"]
    assert (big.processes, big.restart.policy, big.restart.give_up.times) == (3, "never", 7)
    assert big.stop is not None
    assert (big.stop.signal, big.stop.timeout, big.env["A"]) == ("INT", 4, "1")
    assert big.limits.files == 100
    said = notes(found)
    for line, key in (
        (2, "circus.statsd"),
        (6, "Big One.use_sockets"),
        (11, "Big One.stdout_stream.class"),
        (13, "Big One.hooks.before_start"),
        (14, "[socket:s]"),
        (16, "[plugin:p]"),
    ):
        assert any(each.startswith(f"circus.ini:{line}: {key}: not carried over: ") for each in said), (
            key,
            said,
        )
    assert "circus.ini:3: Big One: is called big-one here" in said


def test_what_supervisord_loses_and_keeps(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.conf").write_text("[program:other]\ncommand=/bin/cat\nuser=nobody\numask=027\n")
    found, services = imported(tmp_path, "supervisord.conf", (
        "[inet_http_server]\nport=9001\n[program:web]\ncommand=%(here)s/run --n %(process_num)s ; comment\n"
        "process_name=%(program_name)s_%(process_num)02d\nnumprocs=2\nstdout_logfile=/x/y.log\npriority=5\n"
        "stopsignal=QUIT\nstopwaitsecs=3\nenvironment=A=\"b,c\",D=e\nexitcodes=0,2\n"
        "[eventlistener:l]\ncommand=x\n[group:g]\nprograms=web\n[include]\nfiles = more/*.conf\n"
    ))  # fmt: skip
    web, other = services["web"], services["other"]
    assert web.command == f"{tmp_path}/run --n 0"
    assert (web.processes, web.restart.policy, web.env) == (2, "on-failure", {"A": "b,c", "D": "e"})
    assert web.stop is not None
    assert (web.stop.signal, web.stop.timeout) == ("QUIT", 3)
    assert (other.limits.user, other.limits.umask) == ("nobody", "027")
    said = notes(found)
    for line, key in (
        (1, "[inet_http_server]"),
        (4, "web.command"),
        (7, "web.stdout_logfile"),
        (8, "web.priority"),
        (12, "web.exitcodes"),
        (13, "[eventlistener:l]"),
        (15, "[group:g]"),
    ):
        assert any(each.startswith(f"supervisord.conf:{line}: {key}: not carried") for each in said), (
            key,
            said,
        )


def test_what_process_compose_loses_and_keeps(tmp_path: Path) -> None:
    found, services = imported(tmp_path, "process-compose.yaml", """
processes:
  db:
    command: echo $$HOME
    readiness_probe:
      {http_get: {host: 127.0.0.1, port: 81, path: /up}, period_seconds: 5, failure_threshold: 4}
    liveness_probe: {exec: {command: "true"}, period_seconds: 6}
    namespace: x
  job:
    command: make
    depends_on: {db: {condition: process_healthy}, off: {condition: process_started}}
    shutdown: {signal: 2, timeout_seconds: 3, command: bye}
    availability: {restart: on_failure, backoff_seconds: 2, max_restarts: 3, exit_on_end: true}
    replicas: 2
    is_tty: true
  off:
    command: x
    disabled: true
  clock:
    command: tick
    schedule: {cron: "*/5 * * * *"}
    ready_log_line: "up (1)"
""")  # fmt: skip
    db, job, clock = services["db"], services["job"], services["clock"]
    assert (db.command, db.shell) == ("echo $HOME", True)
    assert db.ready is not None
    assert db.live is not None
    assert (db.ready.http, db.ready.period, db.ready.failures) == ("http://127.0.0.1:81/up", 5, 4)
    assert (db.live.exec, db.live.period) == ("true", 6)
    assert job.depends_on == {"db": "ready"}
    assert job.stop is not None
    assert (job.stop.signal, job.stop.timeout) == ("INT", 3)
    assert (job.restart.policy, job.restart.initial, job.restart.give_up.times) == ("on-failure", 2, 3)
    assert (job.processes, job.pty, clock.schedule) == (2, True, "*/5 * * * *")
    assert clock.ready is not None
    assert clock.ready.log == r"up\ \(1\)"
    said = notes(found)
    for line, key in (
        (8, "db.namespace"),
        (11, "job.depends_on.off"),
        (12, "job.shutdown.command"),
        (13, "job.availability.exit_on_end"),
        (18, "off.disabled"),
    ):
        assert any(each.startswith(f"process-compose.yaml:{line}: {key}: not carried") for each in said), (
            key,
            said,
        )


def test_what_compose_loses_and_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    found, services = imported(tmp_path, "compose.yaml", """
services:
  db:
    image: postgres:16
    volumes: ["a:/b"]
  web:
    build: .
    working_dir: /srv/not-here
    command: serve --token ${TOKEN} --level ${LEVEL:-info} $$HOME
    environment: [PLAIN=1, "URL=redis://x:${TOKEN}@y"]
    ports: ["8080:80", "443:443/tcp"]
    depends_on: {db: {condition: service_healthy}, job: {condition: service_completed_successfully}}
    healthcheck: {test: [CMD, curl, localhost], interval: 7s, retries: 2, start_period: 1m}
    restart: on-failure:5
    stop_signal: SIGQUIT
    stop_grace_period: 1m30s
    deploy: {replicas: 2, resources: {limits: {memory: 50M, cpus: "0.5"}}}
    networks: [front]
  job:
    build: .
    entrypoint: [run]
    command: --once
    tty: true
volumes: {a: {}}
""")  # fmt: skip
    web, job = services["web"], services["job"]
    assert words(web) == ["serve", "--token", "${TOKEN}", "--level", "info", "$HOME"]
    assert web.env == {"PLAIN": "1", "URL": "redis://x:s3cret@y", "TOKEN": "s3cret"}
    assert "s3cret" not in str(found.services)  # only a run sees it; amprun.yaml is in git
    assert (web.port, web.processes, web.cwd) == (80, 2, ".")
    assert web.depends_on == {"job": "completed_successfully"}
    assert web.ready is not None
    assert (web.ready.exec, web.ready.period, web.ready.failures) == (["curl", "localhost"], "7s", 2)
    assert web.ready.deadline == 74
    assert (web.restart.policy, web.restart.give_up.times) == ("on-failure", 5)
    assert web.stop is not None
    assert (web.stop.signal, web.stop.timeout) == ("QUIT", "1m30s")
    assert web.limits.memory == "50M"
    assert (words(job), job.restart.policy, job.pty) == (["run", "--once"], "never", True)
    said = notes(found)
    for line, key in (
        (4, "db.image"),
        (8, "web.working_dir"),
        (11, "web.ports"),
        (12, "web.depends_on.db"),
        (17, "web.deploy.resources.limits.cpus"),
        (18, "web.networks"),
        (24, "volumes"),
    ):
        assert any(each.startswith(f"compose.yaml:{line}: {key}: not carried over: ") for each in said), (
            key,
            said,
        )
    assert sum("web.ports" in each for each in said) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("services: {a: {command: 'x ${N:?no n}'}}", "N is not set: no n"),
        ("services: {a: {command: x, restart: maybe}}", "services.a.restart"),
        ("services: {a: {command: x, scale: 5000}}", "services.a.scale: must be a number"),
        ("services: {a: {command: {b: c}}}", "services.a.command: must be one value"),
        ("services: {a: {command: x, depends_on: [a]}}", "depend on each other"),
        ("services: [a]", "services: must be a mapping"),
        ("services: {a: {image: redis}}", "redis says no command"),
        ("services: {a: {command: \"'x\"}}", "No closing quotation"),
    ],
)  # fmt: skip
def test_errors_of_compose(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        imported(tmp_path, "compose.yaml", text)
    assert words in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path}/compose.yaml:1")


@pytest.mark.parametrize("text", [
    "processes: {a: {command: x, working_dir: '${N?}'}}",
    "processes: {a: {command: x, environment: ['K=${N?}']}}",
    "environment: ['K=${N?}']\nprocesses: {a: {command: x}}",
])  # fmt: skip
def test_a_variable_that_process_compose_must_have_is_named_with_its_place(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="N is not set") as caught:
        imported(tmp_path, "process-compose.yaml", text)
    assert caught.value.message.startswith(f"{tmp_path}/process-compose.yaml:1")


@pytest.mark.parametrize(("form", "library"), [("circus", "circus"), ("supervisord", "supervisor")])
def test_a_missing_parser_is_one_line_with_the_command(
    form: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingError) as caught:
        importers.read(write(tmp_path, form))
    assert repr(library) in caught.value.message
    assert caught.value.hint.endswith("-m pip install 'ampzero[import]'")


def test_what_no_format_is(tmp_path: Path) -> None:
    for name in ("a.toml", "amprun.yaml"):
        (tmp_path / name).write_text("a = 1\n")
        with pytest.raises(UsageError):
            importers.read(tmp_path / name)
    with pytest.raises(MissingError):
        importers.read(tmp_path / "nothing")
    with pytest.raises(UsageError):
        importers.read(tmp_path / "a.toml", "toml")


def test_reserved_names_are_the_loaders() -> None:
    from lib.importers import base

    assert base.RESERVED == RESERVED_NAMES


@given(
    st.dictionaries(
        st.from_regex(r"\A[A-Z_]{1,8}\Z"),
        st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])),
    )
)
@example({"A": "it's \\ \n x"})
def test_variables_are_read_back(variables: dict[str, Any]) -> None:
    assert envfile.parse(envfile.text(variables).encode(), "f") == variables


def test_nothing_of_the_environment_is_written(tmp_path: Path) -> None:
    found = importers.read(write(tmp_path, "circus"))
    assert found.services["web"]["env"] == {"MODE": "test"}
    assert len(os.environ) > 1


@pytest.mark.parametrize(("form", "text"), [
    ("circus", "[circus]\ninclude =\n  {file}\n[watcher:a]\ncmd = x\n"),
    ("supervisord", "[include]\nfiles = {file}\n[program:a]\ncommand = x\n"),
])  # fmt: skip
def test_an_include_is_bounded(form: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "main.ini"
    path.write_text(text.format(file="/dev/zero"))
    with pytest.raises(ConfigError) as caught:
        importers.read(path, form)
    assert "/dev/zero" in caught.value.message
    (tmp_path / "more.ini").write_text("[" + text.rpartition("[")[2].replace(":a]", ":b]"))
    path.write_text(text.format(file="more.ini"))
    assert set(importers.read(path, form).services) == {"a", "b"}
