"""deployment.yaml: what it may say, and the one line about what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.config import Canary
from deploy.environment import Environment, least, load_environment
from lib.errors import AmpzeroError

ONE = "environments: {production: {hosts: [deploy@web1]}}\n"


def load(folder: Path, text: str, name: str | None = None) -> Environment:
    (folder / "deployment.yaml").write_text(text)
    return load_environment(folder, name)


def test_the_only_environment_needs_no_name_and_has_the_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, ONE)
    assert (found.name, found.hosts[0].name, found.hosts[0].address) == ("production", "web1", "deploy@web1")
    assert (found.root, found.min_ready, found.release.compatible) == ("/opt/ampzero", 1, False)


def test_an_environment_overrides_the_top_of_the_file(tmp_path: Path) -> None:
    found = load(tmp_path, """
release: {compatible: true}
secrets: [.env]
hooks: {pre_deploy: make assets}
environments:
  production: {hosts: [a]}
  stage:
    hosts: [{address: root@10.0.0.1:2222, name: s1, pre_update: [systemctl, stop, cron]}, s2]
    secrets: {.env: secrets/stage.env}
    release: {compatible: false}
    canary: {hosts: 1, bake: 1m}
    policy: {min_ready: 50%, on_orphan: stay-closed}
    root: /srv/demo
""", "stage")  # fmt: skip
    assert [host.name for host in found.hosts] == ["s1", "s2"]
    assert found.hosts[0].pre_update == ("systemctl", "stop", "cron")
    assert found.secrets == {".env": tmp_path / "secrets/stage.env"}
    assert (found.release.compatible, found.root, found.min_ready) == (False, "/srv/demo", 1)
    assert found.canary == Canary(hosts=1, bake="1m")
    assert found.hooks.pre_deploy == "make assets"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("enviroments: {}", "1:1: enviroments: unknown key"),
        ("environments: {p: {hosts: [a b]}}", "environments.p.hosts[0]: not an address"),
        ("environments: {p: {hosts: ['a:99999']}}", "environments.p.hosts[0]: not an address"),
        ("environments: {p: {hosts: [-oProxyCommand=x]}}", "environments.p.hosts[0]: not an address"),
        ("environments: {p: {hosts: [u@a, v@a]}}", "environments.p.hosts[1]: the host a stands there twice"),
        ("environments: {p: {hosts: [a], policy: {min_ready: 0%}}}", "policy.min_ready: not a share"),
        ("environments: {p: {hosts: [a], policy: {min_ready: 0}}}", "policy.min_ready: not a share"),
        ("environments: {p: {hosts: [a], policy: {drain: soon}}}", "policy.drain: 'soon' is not a duration"),
        ("environments: {p: {hosts: [a], policy: {on_orphan: open}}}", "policy.on_orphan: must be"),
        ("environments: {p: {hosts: [a, b], canary: {hosts: 2}}}", "the canary is not smaller"),
        ("root: opt/ampzero", "root: not an absolute folder"),
        ("root: /", "root: not an absolute folder"),
        ("root: /opt/../etc", "root: not an absolute folder"),
        ("secrets: [../x]", "secrets[0]: not a path below the instance"),
        ("secrets: [/etc/shadow]", "secrets[0]: not a path below the instance"),
        ("hooks: {pre_deploy: ''}", "hooks.pre_deploy: is empty"),
        ("hooks: {pre_deploy: 'a \"b'}", "hooks.pre_deploy: cannot be taken apart"),
        ("environments: {p: {hosts: [a, b, c], keyspace: {hosts: [a, b]}}}", "a keyspace has 3 hosts"),
        ("environments: {p: {hosts: [a, b, c], keyspace: {hosts: [a, b, b]}}}", "a keyspace has 3 hosts"),
        ("environments: {p: {hosts: [a, b, c], keyspace: {}}}", "p.keyspace.hosts: a keyspace has 3 hosts"),
        ("environments: {p: {hosts: [a, b], keyspace: {hosts: [a, b, c]}}}", "hosts: no host 'c'"),
        (
            "environments: {p: {hosts: [a, b, c], keyspace: {hosts: {a: 10.0.0.1, b: x, c: 10.0.0.3}}}}",
            "p.keyspace.hosts.b: not an IP address: 'x'",
        ),
        (
            "environments: {p: {hosts: [a, b, c], keyspace: {hosts: [a, b, c], peer_port: 2379}}}",
            "p.keyspace.peer_port: is that of the clients",
        ),
        (
            "environments: {p: {hosts: [a], services: {zerodata: [b]}}}",
            "p.services.zerodata: no host 'b' in this environment",
        ),
        ("release: {expires: 1s}", "release.expires: is less than 60s"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AmpzeroError) as caught:
        load(tmp_path, text + "\n", "p")
    assert caught.value.exit_code == 4
    assert says in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path}/deployment.yaml:")


def test_a_missing_file_environment_or_name_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(AmpzeroError, match="there is no") as caught:
        load_environment(tmp_path, None)
    assert caught.value.exit_code == 5
    with pytest.raises(AmpzeroError, match="names no environment"):
        load(tmp_path, "environments: {}\n")
    with pytest.raises(AmpzeroError, match="several environments") as caught:
        load(tmp_path, "environments: {a: {hosts: [x]}, b: {hosts: [y]}}\n")
    assert "--env a or --env b" in caught.value.hint
    with pytest.raises(AmpzeroError, match="no environment 'producton'") as caught:
        load(tmp_path, ONE, "producton")
    assert "production" in caught.value.hint


@pytest.mark.parametrize(
    ("share", "hosts", "wanted"), [("100%", 3, 3), ("50%", 3, 2), ("1%", 50, 1), (2, 3, 2), (9, 3, 3)]
)
def test_a_share_of_the_hosts_is_rounded_up(share: str | int, hosts: int, wanted: int) -> None:
    assert least(share, hosts) == wanted
