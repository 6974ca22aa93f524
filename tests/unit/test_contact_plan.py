"""Whether there is a contact process, where nginx listens for others, and what amprun.yaml must not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib.config import Config
from lib.contact.plan import ContactPlan, is_near, make_plan, why_off
from lib.errors import ConfigError, TakenError
from lib.instance import Instance
from lib.loader import load_config
from lib.options import Options

HTTPS = "https://hub.example"
SERVICES: dict[str, Any] = {"ampnode": {}, "nginx": {}}


def instance(folder: Path, url: str = "none", services: Any = None, **more: Any) -> Instance:
    keys = folder / "ampnode"
    keys.mkdir(exist_ok=True)
    if url:
        (keys / "hub.public.key").write_text(f"ampzero/hub/v1\nversion: 1\nurl: {url}\n\n— x y\n")
        (keys / "host-7.public.key").write_text("ampzero/key/v1\nid: host-7\n\n— x y\n")
        (keys / "host-7.private.key").write_text("secret")
    return Instance(
        name="demo", root=folder / "root", var_name="demo", directory=folder,
        config_file=folder / "amprun.yaml",
        config=msgspec.convert({"services": services or SERVICES, **more}, Config),
    )  # fmt: skip


def plan(
    one: Instance, port: Callable[[str, int], int] = lambda key, wanted: wanted, **options: Any
) -> ContactPlan:
    found = make_plan(one, Options(**options), one.config.services, port)
    assert found is not None, why_off(one, Options(**options))
    return found


@pytest.mark.parametrize(
    ("url", "contact", "options", "why"),
    [
        ("none", {}, {}, "the hub is inside of ampzero"),
        (HTTPS, {"enabled": False}, {}, "enabled: false"),
        (HTTPS, {}, {"hub": False}, "--no-hub"),
        ("none", {"enabled": True}, {"hub": False}, "--no-hub"),
        ("", {"enabled": True}, {}, "has no keys"),
    ],
)
def test_where_there_is_none(tmp_path: Path, url: str, contact: Any, options: Any, why: str) -> None:
    one = instance(tmp_path, url, contact=contact)
    assert why in why_off(one, Options(**options))
    assert make_plan(one, Options(**options), one.config.services, lambda key, wanted: wanted) is None


@pytest.mark.parametrize(("url", "contact"), [(HTTPS, {}), ("none", {"enabled": True})])
def test_where_there_is_one(tmp_path: Path, url: str, contact: Any) -> None:
    assert plan(instance(tmp_path, url, contact=contact)).nginx == "nginx"


def test_a_host_without_its_private_key_has_none(tmp_path: Path) -> None:
    one = instance(tmp_path, HTTPS)
    (tmp_path / "ampnode/host-7.private.key").unlink()
    assert "private key is not here" in why_off(one, Options())


def test_without_nginx_there_is_none(tmp_path: Path) -> None:
    one = instance(tmp_path, HTTPS, services={"ampnode": {}})
    assert make_plan(one, Options(), one.config.services, lambda key, wanted: wanted) is None


@pytest.mark.parametrize(
    ("url", "contact", "options", "everywhere", "nat"),
    [
        (HTTPS, {}, {}, True, True),
        (HTTPS, {}, {"nat": False}, True, False),
        (HTTPS, {"nat": False}, {}, True, False),
        ("http://127.0.0.1:8150", {}, {}, False, False),
        ("http://127.0.0.1:8150", {}, {"server": True}, True, False),
        ("none", {"enabled": True}, {}, False, False),
        ("none", {"enabled": True, "nat": True}, {}, False, True),
        ("none", {"enabled": True, "nat": True}, {"nat": False}, False, False),
        ("none", {"enabled": True, "addresses": ["10.0.0.5:8043"]}, {}, True, False),
    ],
)  # fmt: skip
def test_where_nginx_listens_and_whether_a_gateway_is_asked(
    tmp_path: Path, url: str, contact: Any, options: Any, everywhere: bool, nat: bool
) -> None:
    found = plan(instance(tmp_path, url, contact=contact), **options)
    assert (found.everywhere, found.nat) == (everywhere, nat)


def test_the_port(tmp_path: Path) -> None:
    def taken(key: str, wanted: int) -> int:
        if wanted:
            raise TakenError("by another")
        return 20000

    assert plan(instance(tmp_path, HTTPS, port=9000)).port == 9003
    assert plan(instance(tmp_path, HTTPS, port=9000), taken).port == 20000
    assert plan(instance(tmp_path, HTTPS, port=65534), taken).port == 20000
    assert plan(instance(tmp_path, HTTPS, contact={"port": 443})).port == 443
    with pytest.raises(TakenError):
        plan(instance(tmp_path, HTTPS, contact={"port": 443}), taken)


def test_a_service_of_that_name_is_in_the_way(tmp_path: Path) -> None:
    one = instance(tmp_path, HTTPS, services={"nginx": {}, "contact": {"command": "sleep 1"}})
    with pytest.raises(ConfigError, match=r"services\.contact: the name is ampzero's own"):
        plan(one)
    assert why_off(instance(tmp_path, "none", services={"contact": {"command": "sleep 1"}}), Options())


@pytest.mark.parametrize(
    "url", ["none", "http://localhost:1", "https://127.0.0.1", "http://[::1]:80", "http://127.9.9.9"]
)
def test_hubs_on_this_machine(url: str) -> None:
    assert is_near(url)


@pytest.mark.parametrize(
    "url", [HTTPS, "https://127.example.org", "https://localhost.example", "", "https://["]
)
def test_hubs_elsewhere(url: str) -> None:
    assert not is_near(url) or url.startswith("https://127.")


@pytest.mark.parametrize(
    ("contact", "where", "what"),
    [
        ("{addresses: [hub.example:80]}", "contact.addresses.0", "not an address"),
        ("{addresses: ['10.0.0.5']}", "contact.addresses.0", "not an address"),
        ("{addresses: ['10.0.0.5:0']}", "contact.addresses.0", "not an address"),
        ("{addresses: ['10.0.0.5:70000']}", "contact.addresses.0", "not an address"),
        ("{addresses: ['[2001:DB8::1]:80']}", "contact.addresses.0", "not an address"),
        ("{port: 8040}", "contact.port", "port 8040"),
        ("{enabled: yes}", "contact.enabled", ""),
        ("{prot: 1}", "contact", "unknown key"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(
    tmp_path: Path, contact: str, where: str, what: str
) -> None:
    path = tmp_path / "amprun.yaml"
    path.write_text(f"contact: {contact}\nservices: {{nginx: {{}}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in caught.value.message and what in caught.value.message


def test_what_makes_sense(tmp_path: Path) -> None:
    path = tmp_path / "amprun.yaml"
    path.write_text("contact: {enabled: true, addresses: ['203.0.113.7:8043', '[2001:db8::1]:8043']}\n")
    assert load_config(path).contact.addresses == ["203.0.113.7:8043", "[2001:db8::1]:8043"]
