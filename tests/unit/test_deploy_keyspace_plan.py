"""Which hosts of an environment are told what about its keyspace, and what may not be said about one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from deploy import keyspace, keyspaceauthority
from deploy.config import Canary, KeyspaceConfig
from deploy.environment import Environment, load_environment
from deploy.facts import Facts, facts
from deploy.keyspace import EtcdMember
from deploy.keyspaceauthority import LEAF_DAYS, Authority
from deploy.plan import waves
from deploy.settings import Groups, HostSettings
from lib.errors import AmpzeroError, ConfigError, MissingError, RefusedError, UsageError
from lib.keyspace.cluster import Cluster

HOSTS = ("a", "b", "c", "d")
NONE_INSIDE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
TEXT = "environments: {p: {hosts: [a, b, c, d], keyspace: {hosts: [a, b, c]}}}\n"


def host(number: int, told: Groups | None = None, **given: Any) -> Facts:
    shown = {group: {name: text for name, text in files.items() if not name.endswith(".key")}
             for group, files in (told or {}).items()}  # fmt: skip
    base = {"platform": "p", "python": "3.11", "user": "u", "clock": 0.0, "disk_free": 10**9,
            "address": f"10.0.0.{number}", "settings": shown}  # fmt: skip
    return facts(base | given, HOSTS[number - 1])


def nobody(name: str) -> list[EtcdMember]:
    raise AssertionError(f"{name} was asked")


def environment(folder: Path, text: str = TEXT) -> Environment:
    (folder / "deployment.yaml").write_text(text)
    return load_environment(folder, "p")


def fresh() -> dict[str, Facts]:
    return {name: host(number) for number, name in enumerate(HOSTS, 1)}


def after(told: dict[str, Groups], **given: Any) -> dict[str, Facts]:
    return {name: host(number, told.get(name), **given) for number, name in enumerate(HOSTS, 1)}


def test_each_host_gets_its_own_and_then_nothing_more(tmp_path: Path) -> None:
    settings = HostSettings(environment(tmp_path), tmp_path / "data")
    assert settings.lacking(fresh()) == set(HOSTS)
    told = settings.make(fresh(), HOSTS, nobody)
    files = {name: told[name]["keyspace"] for name in HOSTS}
    assert {name for name in HOSTS if "member.pem" in files[name]} == {"a", "b", "c"}
    assert len({files[name]["client.key"] for name in HOSTS}) == 4
    (place,) = (tmp_path / "data/keyspaces").iterdir()
    assert not any(
        (place / "ca.key").read_text() in text for each in files.values() for text in each.values()
    )
    assert [oct(path.stat().st_mode & 0o777) for path in (place, place / "ca.key")] == ["0o700", "0o600"]
    member = x509.load_pem_x509_certificate(files["b"]["member.pem"].encode())
    names = member.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.2"]
    assert settings.lacking(after(told)) == frozenset()
    assert settings.make(after(told), HOSTS, nobody) == {}


def test_a_host_that_comes_later_is_let_in_by_the_same_authority(tmp_path: Path) -> None:
    settings = HostSettings(environment(tmp_path), tmp_path / "data")
    told = settings.make(fresh(), HOSTS, nobody)
    known = after({name: told[name] for name in "abc"})
    assert settings.lacking(known) == {"d"}
    again = settings.make(known, HOSTS, nobody)
    assert again.keys() == {"d"} and again["d"]["keyspace"]["ca.pem"] == told["a"]["keyspace"]["ca.pem"]
    with pytest.raises(MissingError, match="d needs a certificate") as caught:
        HostSettings(environment(tmp_path), tmp_path / "elsewhere").make(known, HOSTS, nobody)
    assert "keyspaces" in caught.value.hint


def test_a_certificate_is_renewed_in_the_last_third_of_its_life(tmp_path: Path) -> None:
    authority = keyspaceauthority.make(tmp_path / "data", "t")
    config = KeyspaceConfig(["a", "b", "c"])
    cluster = keyspace.first(config, fresh(), "t")
    now = datetime.now(UTC)

    def lacks(age: float, role: str = "client") -> str:
        made = now - timedelta(days=LEAF_DAYS * age)
        files = {"cluster.json": cluster_text(keyspace.own(cluster, "a")), "ca.pem": authority.pem}
        for each in ("client", "member"):
            begun = made if each == role else now
            files[f"{each}.pem"] = certificate(authority, each, begun)
        return keyspace.lacks(cluster, "a", host(1, {"keyspace": files}), now)

    assert [lacks(age) for age in (0, 0.6, 0.7, 0.99, 1.01)] == ["", "", "renewal", "renewal", "nothing"]
    assert lacks(0.7, "member") == "renewal"
    assert keyspace.lacks(cluster, "a", host(1), now) == "nothing"
    broken = {"cluster.json": cluster_text(keyspace.own(cluster, "a")), "client.pem": "x"}
    assert keyspace.lacks(cluster, "a", host(1, {"keyspace": broken}), now) == "nothing"


def certificate(authority: Authority, role: str, now: datetime) -> str:
    return (authority.client(now) if role == "client" else authority.member(["10.0.0.1"], now))[0]


def cluster_text(cluster: Cluster) -> str:
    return msgspec.json.encode(cluster).decode()


@pytest.mark.parametrize(
    "text",
    [
        "environments: {p: {hosts: [a, b, c, d], keyspace: {hosts: [a, b, d]}}}\n",
        "environments: {p: {hosts: [a, b, c, d]}}\n",
        "environments: {p: {hosts: [a, b, c, d], keyspace: {hosts: "
        "{a: 10.0.0.9, b: 10.0.0.2, c: 10.0.0.3}}}}\n",
    ],
)
def test_what_the_cluster_is_no_other_words_change(tmp_path: Path, text: str) -> None:
    told = HostSettings(environment(tmp_path), tmp_path / "data").make(fresh(), HOSTS, nobody)
    settings = HostSettings(environment(tmp_path, text), tmp_path / "data")
    for ask in (settings.lacking, lambda known: settings.make(known, HOSTS, nobody)):
        with pytest.raises(ConfigError, match=r"deployment\.yaml: ") as caught:
            ask(after(told))
        assert "docs/keyspace.md" in caught.value.hint


def test_the_order_in_the_file_does_not_matter_and_addresses_may_be_named(tmp_path: Path) -> None:
    told = HostSettings(environment(tmp_path), tmp_path / "data").make(fresh(), HOSTS, nobody)
    for hosts in ("[c, a, b]", "{c: 10.0.0.3, a: 10.0.0.1, b: 10.0.0.2}"):
        text = f"environments: {{p: {{hosts: [a, b, c, d], keyspace: {{hosts: {hosts}}}}}}}\n"
        assert not HostSettings(environment(tmp_path, text), tmp_path / "data").lacking(after(told))
    config = KeyspaceConfig({"a": "10.9.0.1", "b": "fd00::2", "c": "10.9.0.3"})
    urls = [member.client_url for member in keyspace.first(config, {}, "t").members]
    assert urls == ["https://10.9.0.1:2379", "https://[fd00::2]:2379", "https://10.9.0.3:2379"]
    with pytest.raises(MissingError, match="the address of c"):
        keyspace.first(KeyspaceConfig(["a", "b", "c"]), {"a": host(1), "b": host(2)}, "t")


def test_hosts_of_different_keyspaces_are_refused(tmp_path: Path) -> None:
    one = HostSettings(environment(tmp_path), tmp_path / "one").make(fresh(), HOSTS, nobody)
    other = HostSettings(environment(tmp_path), tmp_path / "other").make(fresh(), HOSTS, nobody)
    with pytest.raises(RefusedError, match="a and d belong to different keyspaces"):
        HostSettings(environment(tmp_path), tmp_path).lacking(after({**one, "d": other["d"]}))
    nonsense = {"d": {"keyspace": {"cluster.json": "{}"}}}
    with pytest.raises(AmpzeroError, match=r"d: its cluster.json makes no sense"):
        HostSettings(environment(tmp_path), tmp_path).lacking(after({**one, **nonsense}))


def test_no_canary_and_no_single_host_begins_a_keyspace(tmp_path: Path) -> None:
    settings = HostSettings(environment(tmp_path), tmp_path / "data")
    together = settings.together(fresh(), HOSTS)
    assert waves(HOSTS, Canary(hosts=1), together) == (HOSTS,)
    with pytest.raises(UsageError, match="two of its hosts"):
        settings.together(fresh(), ["b"])
    assert settings.together(fresh(), ["d"]) == {"a", "b", "c"}
    formed = after(settings.make(fresh(), HOSTS, nobody), keyspace_data=True)
    assert settings.together(formed, ["b"]) == frozenset()
    assert waves(HOSTS, Canary(hosts=1), frozenset()) == (("a",), ("b", "c", "d"))


def test_a_host_is_told_the_services_that_it_runs_beside_the_others_when_they_change(tmp_path: Path) -> None:
    text = "environments: {p: {hosts: [a, b, c, d], services: {zerodata: [a, b], logstore: [b]}}}\n"
    settings = HostSettings(environment(tmp_path, text), tmp_path / "data")
    assert settings.lacking(fresh()) == {"a", "b"}
    told = settings.make(fresh(), HOSTS, nobody)
    assert told == {
        "a": {"server": {"services.json": '{"services":["zerodata"]}'}},
        "b": {"server": {"services.json": '{"services":["logstore","zerodata"]}'}},
    }
    assert not settings.lacking(after(told))
    none = HostSettings(environment(tmp_path, "environments: {p: {hosts: [a, b, c, d]}}\n"), tmp_path)
    nothing = {"server": {"services.json": '{"services":[]}'}}
    assert none.make(after(told), HOSTS, nobody) == {"a": nothing, "b": nothing}


def test_a_member_without_data_begins_as_the_others_say_or_not_at_all(tmp_path: Path) -> None:
    settings = HostSettings(environment(tmp_path), tmp_path / "data")
    told = settings.make(fresh(), HOSTS, nobody)
    known = {**after(told, keyspace_data=True), "b": host(2)}
    clients, peers = ["https://10.0.0.2:2379"], ["https://10.0.0.2:2380"]

    def begins(name: str, client_urls: list[str]) -> str:
        def ask(asked: str) -> list[EtcdMember]:
            assert asked in "ac"
            return [EtcdMember("a", ["https://10.0.0.1:2380"], ["x"]), EtcdMember(name, peers, client_urls)]

        made = settings.make(known, HOSTS, ask)
        assert made.keys() == {"b"}
        return str(json.loads(made["b"]["keyspace"]["cluster.json"])["state"])

    assert (begins("b", []), begins("", [])) == ("new", "existing")
    with pytest.raises(RefusedError, match="b: it is a member") as caught:
        begins("b", clients)
    assert "docs/keyspace.md" in caught.value.hint


@given(
    st.dictionaries(
        st.sampled_from(["cluster.json", "client.pem", "member.pem"]),
        st.text() | st.sampled_from(["{}", NONE_INSIDE]),
    )
)
def test_whatever_a_host_says_it_was_told_is_a_cluster_or_an_error(told: dict[str, str]) -> None:
    cluster = keyspace.first(KeyspaceConfig(["a", "b", "c"]), fresh(), "t")
    try:
        keyspace.known({"a": host(1, {"keyspace": told})})
        assert keyspace.lacks(cluster, "a", host(1, {"keyspace": told}), datetime.now(UTC)) == "nothing"
    except RefusedError as error:
        assert error.message.startswith("a: ")


def test_a_certificate_that_is_none_inside_is_made_anew() -> None:
    cluster = keyspace.first(KeyspaceConfig(["a", "b", "c"]), fresh(), "t")
    told = {"cluster.json": cluster_text(keyspace.own(cluster, "a")), "client.pem": NONE_INSIDE}
    told["member.pem"] = NONE_INSIDE
    assert keyspace.lacks(cluster, "a", host(1, {"keyspace": told}), datetime.now(UTC)) == "nothing"
