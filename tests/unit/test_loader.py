from __future__ import annotations

from pathlib import Path

import pytest

from lib import loader, root
from lib.errors import AmpzeroError, ConfigError, MissingError
from lib.instance import Instance
from lib.kinds import KINDS


def load(folder: Path, text: str) -> Instance:
    (folder / "amprun.yaml").write_text(text)
    return loader.load_instance(str(folder))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("services: {redi: {}}", "1:12: services.redi: neither a known kind nor a command",
         "did you mean 'redis'?"),
        ("services: {x: {kind: redi}}", "1:22: services.x.kind: no kind 'redi'", "did you mean 'redis'?"),
        ("services: {x: {kind: redis, command: y}}",
         "1:38: services.x.command: a service of the kind redis has a command of its own",
         "remove command, or remove kind"),
        ("services: {redis: {command: y}}",
         "1:29: services.redis.command: a service called redis is of that kind and has a command of its own",
         "remove command, or give the service another name, or say kind: command"),
        ("services: {x: {kind: command}}", "1:12: services.x: neither a known kind nor a command", None),
        ("services: {a b: {command: x}}", "1:12: services.a b: is not a name for a service", None),
        ("services: {supervisor: {command: x}}",
         "1:12: services.supervisor: this name is the tool's own", None),
        ("services: {x: {command: ''}}", "1:25: services.x.command: is empty", ""),
        ("services: {x: {command: []}}", "1:25: services.x.command: is empty", ""),
        ("services: {x: {command: [a], shell: true}}",
         "1:37: services.x.shell: a command for a shell is text, not a list", ""),
        ("services: {x: {command: a, ready: {}}}",
         "1:35: services.x.ready: says not how; "
         "it must be exactly one of tcp, http, exec, log, notify, redis, postgres", ""),
        ("services: {x: {command: a, ready: {tcp: 1, log: b}}}",
         "1:35: services.x.ready: tcp and log are given; "
         "it must be exactly one of tcp, http, exec, log, notify, redis, postgres",
         ""),
        ("services: {x: {command: a, ready: {tcp: 0}}}",
         "1:41: services.x.ready.tcp: is not a port: 1 to 65535",
         ""),
        ("services: {x: {command: a, ready: {log: '('}}}",
         "1:41: services.x.ready.log: is not a regular expression: "
         "missing ), unterminated subpattern at position 0", ""),
        ("services: {x: {command: a, ready: {log: b, send: c}}}",
         "1:44: services.x.ready.send: works only with tcp", ""),
        ("services: {x: {command: a, ready: {log: b, interval: 0}}}",
         "1:54: services.x.ready.interval: is too short: at least 10ms", ""),
        ("services: {x: {command: a, restart: {give_up: {within: 1 h}}}}",
         "1:56: services.x.restart.give_up.within: '1 h' is not a duration",
         "write it like 500ms, 10s, 5m, 1h, 7d, or as a number of seconds"),
        ("services: {x: {command: a, stop: {signal: TREM}}}",
         "1:43: services.x.stop.signal: no signal 'TREM'",
         "did you mean 'TERM'?"),
        ("services: {x: {command: a, depends_on: {rdis: ready}}, redis: }",
         "1:41: services.x.depends_on.rdis: no service 'rdis'", "did you mean 'redis'?"),
        ("services: {x: {command: a, depends_on: [rdis]}, redis: }",
         "1:41: services.x.depends_on[0]: no service 'rdis'", "did you mean 'redis'?"),
        ("services:\n  a: {command: x, depends_on: [b]}\n  b: {command: x, depends_on: [a]}",
         "2:31: services.a.depends_on: services depend on each other in a circle: a -> b -> a",
         "remove one of these dependencies"),
        ("services: {x: {command: a, env: {'A=B': c}}}",
         "1:34: services.x.env.A=B: is not a name and value for the environment", ""),
        ("amprun_root_directory: ''", "1:24: amprun_root_directory: is empty",
         "remove the key to have the default"),
        ("amprun_root_directory: ~nobody-of-this-name/x",
         "1:24: amprun_root_directory: there is no such user, or it has no home", ""),
        ("services: {x: {command: a, ready: {http: /up}}}",
         "1:42: services.x.ready.http: a path alone needs a port of the service",
         "add port: auto, or write the whole URL"),
        ("services: {x: {command: a, ready: {exec: ['']}}}", "1:42: services.x.ready.exec: is empty", ""),
        ("services: {x: {command: a, ready: {log: b, period: 1ms}}}",
         "1:52: services.x.ready.period: is too short: at least 10ms", ""),
        ("services: {x: {command: a, ready: {log: b, failures: 0}}}",
         "1:54: services.x.ready.failures: must be at least 1", ""),
        ("services: {x: {command: a, live: {}}}",
         "1:34: services.x.live: says not how; it must be exactly one of tcp, http, exec", ""),
        ("services: {x: {command: a, live: {tcp: 1, exec: b}}}",
         "1:34: services.x.live: tcp and exec are given; it must be exactly one of tcp, http, exec", ""),
        ("services: {x: {command: a, live: {tcp: 65536}}}",
         "1:40: services.x.live.tcp: is not a port: 1 to 65535", ""),
        ("services: {x: {command: a, live: {tcp: 'here:x'}}}",
         "1:40: services.x.live.tcp: is not an address: invalid literal for int() with base 10: 'x'",
         "as 8000, host:8000, unix:/path"),
        ("services: {x: {command: a, live: {http: /up}}}",
         "1:41: services.x.live.http: a path alone needs a port of the service",
         "add port: auto, or write the whole URL"),
        ("services: {x: {command: a, live: {exec: '  '}}}", "1:41: services.x.live.exec: is empty", ""),
        ("services: {x: {command: a, live: {exec: b, send: c}}}",
         "1:44: services.x.live.send: works only with tcp", ""),
        ("services: {x: {command: a, live: {exec: b, period: 0}}}",
         "1:52: services.x.live.period: is too short: at least 10ms", ""),
        ("services: {x: {command: a, live: {exec: b, timeout: soon}}}",
         "1:53: services.x.live.timeout: 'soon' is not a duration", None),
        ("services: {x: {command: a, live: {log: b}}}", "1:35: services.x.live.log: unknown key", None),
        ("services: {x: {command: a, schedule: often}}",
         "1:38: services.x.schedule: is not a schedule: Wrong number of fields",
         'as cron has it: "*/5 * * * *", "30 4 * * 1-5"'),
        ("services: {x: {command: a, schedule: 61 * * * *}}",
         "1:38: services.x.schedule: is not a schedule: Bad minute", None),
        ("services: {x: {command: a, schedule: 0 0 31 2 *}}",
         "1:38: services.x.schedule: is not a schedule: Bad day-of-month", None),
        ("services: {redis: {schedule: 0 0 * * *}}",
         "1:20: services.redis.schedule: a redis runs all the time", "only a command has a schedule"),
        ("services: {x: {command: a, schedule: 0 0 * * *, processes: 2}}",
         "1:60: services.x.processes: what has a schedule runs one at a time",
         "remove processes, or schedule"),
        ("services: {x: {command: a, schedule: 0 0 * * *, restart: {max: 1}}}",
         "1:49: services.x.restart: means nothing with a schedule: "
         "it runs again at its next time, however it ended", "remove restart"),
        ("services: {x: {command: a, schedule: 0 0 * * *, live: {exec: b}}}",
         "1:49: services.x.live: means nothing with a schedule: it is to end", "remove live"),
        ("services: {x: {command: a, schedule: 0 0 * * *}, y: {command: a, depends_on: {x: completed}}}",
         "1:82: services.y.depends_on.x: x runs by its schedule again and again: it never is completed", ""),
        ("services: {x: {command: a}, y: {command: a, depends_on: {x: completed_successfully}}}",
         "1:61: services.y.depends_on.x: x is started again whenever it ends: "
         "it never is completed_successfully", "give x restart: {policy: on-failure}, or never"),
        ("services: {x: {command: a, listen: 0}}",
         "1:36: services.x.listen: is not an address to listen at: the port must be from 1 to 65535",
         "as 8000, 127.0.0.1:8000 or unix:/path"),
        ("services: {x: {command: a, listen: [8000, ':8001']}}",
         "1:43: services.x.listen[1]: is not an address to listen at: '' is no IP address", None),
        ("services: {x: {command: a, listen: 'example.org:80'}}",
         "1:36: services.x.listen: is not an address to listen at: 'example.org' is no IP address", None),
        ("services: {x: {command: a, listen: 'unix:'}}",
         "1:36: services.x.listen: is not an address to listen at: names no socket", None),
        (f"services: {{x: {{command: a, listen: 'unix:/{'x' * 107}'}}}}",
         "1:36: services.x.listen: is not an address to listen at: "
         "is too long for a socket: at most 107 bytes", None),
        ("services: {x: {command: a, listen: [80, 80]}}",
         "1:41: services.x.listen[1]: port 80 is that of x", "choose another"),
        ("services: {x: {command: a, listen: 80}, y: {command: a, listen: '0.0.0.0:80'}}",
         "1:65: services.y.listen: port 80 is that of x", "choose another"),
        ("services: {x: {command: a, listen: unix:a}, y: {command: a, listen: unix:a}}",
         "1:69: services.y.listen: unix:a is that of x", "choose another"),
        ("services: {x: {command: a, port: 80, processes: 3}, y: {command: a, port: 82}}",
         "1:75: services.y.port: port 82 is that of x", "choose another"),
        ("services: {x: {command: a, port: 65535, processes: 2}}",
         "1:34: services.x.port: 2 processes from there on need ports above 65535", ""),
        ("services: {nginx: , x: {command: a, listen: 8040}}",
         "1:45: services.x.listen: port 8040 is that of the instance's port", "choose another"),
        (f"services: {{x: {{command: a, listen: {list(range(9001, 9015))}}}}}",
         "1:36: services.x.listen: 14 addresses are more than 13", ""),
        ("services: {redis: {listen: 80}}",
         "1:20: services.redis.listen: a redis knows itself where to listen",
         "remove listen"),
        ("services: {x: {command: a, pty: yes}}", "1:33: services.x.pty: must be true or false, not text",
         "write true"),
        ("services: {x: {command: a, limits: {memory: lots}}}",
         "1:45: services.x.limits.memory: 'lots' is not a size", "as 200M, 1G, or a number of bytes"),
        ("services: {x: {command: a, limits: {memory: 200}}}",
         "1:45: services.x.limits.memory: 200 is too little: at least 1M",
         "a number alone is bytes: as 200M, 1G"),
        ("services: {x: {command: a, limits: {core: -1}}}",
         "1:43: services.x.limits.core: -1 is not a size", None),
        ("services: {x: {command: a, limits: {file_size: 9999999T}}}",
         "1:48: services.x.limits.file_size: '9999999T' is not a size", None),
        ("services: {x: {command: a, limits: {files: 3000000000}}}",
         "1:44: services.x.limits.files: must be at most 2147483647", ""),
        ("services: {x: {command: a, limits: {processes: 0}}}",
         "1:48: services.x.limits.processes: must be at least 1", ""),
        ("services: {x: {command: a, limits: {cpu_time: 10ms}}}",
         "1:47: services.x.limits.cpu_time: is too short: at least 1s", ""),
        ("services: {x: {command: a, limits: {nice: 20}}}",
         "1:43: services.x.limits.nice: must be at most 19", ""),
        ("services: {x: {command: a, limits: {umask: '089'}}}",
         "1:44: services.x.limits.umask: must match ^0?[0-7]{3}$", ""),
        ("services: {x: {command: a, limits: {umask: 022}}}",
         "1:44: services.x.limits.umask: must be text, not a whole number", 'put it in quotes: "022"'),
        ("services: {x: {command: a, limits: {user: rooot}}}",
         "1:43: services.x.limits.user: no user 'rooot' on this machine", "did you mean 'root'?"),
        ("services: {x: {command: a, limits: {group: rooot}}}",
         "1:44: services.x.limits.group: no group 'rooot' on this machine", "did you mean 'root'?"),
        ("metrics: 0", "1:10: metrics: is not an address to listen at: the port must be from 1 to 65535",
         "as 9100 or 127.0.0.1:9100"),
        ("metrics: localhost:9100",
         "1:10: metrics: is not an address to listen at: 'localhost' is no IP address", None),
        ("metrics: unix:/x", "1:10: metrics: is not an address to listen at: it must be a port", None),
        ("metrics: 80\nservices: {x: {command: a, port: 80}}",
         "2:34: services.x.port: port 80 is that of metrics",
         "choose another"),
        ("on_crash: adpt", "1:11: on_crash: must be adopt or stop, not 'adpt'", "did you mean 'adopt'?"),
        ("logs: {age: 1ms}", "1:13: logs.age: is too short: at least 60s", ""),
    ],
)  # fmt: skip
def test_what_types_cannot_check(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.message == f"{tmp_path}/amprun.yaml:{message}"
    if hint is not None:
        assert caught.value.hint == (hint or loader.HINT)
    assert caught.value.hint


def test_the_kinds_are_the_services_kinds() -> None:
    from lib.services import SERVICES

    assert {*KINDS, "command"} == set(SERVICES)


def test_signals_with_and_without_sig(tmp_path: Path) -> None:
    load(
        tmp_path, "services: {a: {command: x, stop: {signal: SIGUSR1}}, b: {command: x, stop: {signal: INT}}}"
    )


def test_a_folder_with_only_an_amprun_yaml_is_an_instance(tmp_path: Path) -> None:
    folder = tmp_path / "My App!"
    folder.mkdir()
    instance = load(folder, "services: {a: {command: sleep 1}}")
    assert instance.name == "my-app"
    assert instance.var_name.startswith("my-app-")
    assert instance.directory == folder
    assert instance.config_file == folder / "amprun.yaml"


def test_two_folders_with_the_same_last_name_keep_apart(tmp_path: Path) -> None:
    names = set()
    for parent in ("a", "b"):
        (tmp_path / parent / "app").mkdir(parents=True)
        names.add(load(tmp_path / parent / "app", "").var_name)
    assert len(names) == 2


@pytest.mark.parametrize("name", ["7", "---", "ünïcode", "x" * 200, "A" * 40, ".hidden"])
def test_guessed_names_are_good_names(tmp_path: Path, name: str) -> None:
    import re

    from lib.config import NAME_PATTERN

    folder = tmp_path / name
    folder.mkdir()
    instance = load(folder, "")
    assert re.fullmatch(NAME_PATTERN, instance.name)
    assert re.fullmatch(NAME_PATTERN, instance.var_name)


def test_root_directory(tmp_path: Path, isolated_home: Path) -> None:
    assert load(tmp_path, "amprun_root_directory: var").root == tmp_path / "var"
    assert load(tmp_path, "amprun_root_directory: ../x").root == tmp_path.parent / "x"
    assert load(tmp_path, "amprun_root_directory: ~/y").root == isolated_home / "y"
    assert load(tmp_path, "amprun_root_directory: /z").root == Path("/z")


def test_root_directory_of_a_user_who_may_not_write_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated_home: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(root, "DEFAULT_ROOT", str(tmp_path / "file/var"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert load(tmp_path, "").root == tmp_path / "state/ampzero"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert load(tmp_path, "").root == isolated_home / ".local/state/ampzero"
    monkeypatch.setattr(root, "DEFAULT_ROOT", str(tmp_path / "new/var"))
    assert load(tmp_path, "").root == tmp_path / "new/var"
    assert not (tmp_path / "new").exists()


def test_by_name_by_path_and_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kickass-of-test"
    folder.mkdir()
    load(folder, "name: other")
    monkeypatch.chdir(tmp_path)
    assert loader.load_instance("kickass-of-test").name == "other"
    assert loader.load_instance("./kickass-of-test").name == "other"
    for wrong in ("nothing-here", "", "x" * 5000, "a\0b"):
        with pytest.raises(AmpzeroError) as caught:
            loader.load_instance(wrong)
        assert isinstance(caught.value, MissingError), wrong


def test_what_is_good(tmp_path: Path) -> None:
    text = """
metrics: "[::1]:9100"
on_crash: stop
logs: {age: 0}
services:
  web: {command: a, processes: 4, listen: [8000, "127.0.0.2:8001", "[::1]:8000", "unix:run/web.sock"]}
  other: {command: a, listen: "127.0.0.3:8001", ready: {tcp: 1, period: 0}}
  worker: {command: a, port: auto, live: {http: /up}, limits: {user: root, group: "0", umask: "0027"}}
  nightly: {command: a, schedule: "30 4 * * 1-5", restart: {policy: never}}
  job: {command: a, restart: {policy: on-failure}}
  last: {command: a, depends_on: {job: completed_successfully, nightly: started}}
"""
    services = load(tmp_path, text).config.services
    assert services["web"].processes == 4
    assert services["worker"].limits.umask == "0027"
