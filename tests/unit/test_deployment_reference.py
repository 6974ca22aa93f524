"""The template's deployment.yaml is the reference: every key is in it, and its examples are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy import config as types
from deploy.config import DeploymentConfig
from deploy.environment import load_environment
from lib.config import Section
from lib.init import scaffold

SECTIONS = [
    kind
    for kind in vars(types).values()
    if isinstance(kind, type) and issubclass(kind, Section) and kind is not Section
]
SOURCE = (scaffold.TEMPLATE / "deployment.yaml").read_text()
EXAMPLES = re.sub(
    r"^#( *(?:[a-z_]+:|- ))", r"\1", SOURCE.replace("environments: {}", "environments:"), flags=re.M
)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_documented(section: type[Section]) -> None:
    for key in section.__struct_fields__:
        assert re.search(rf"(^|[ #{{]|, ){key}:", SOURCE, re.MULTILINE), f"{section.__name__}.{key}"


def test_the_examples_load_when_uncommented(tmp_path: Path) -> None:
    (tmp_path / "deployment.yaml").write_text(EXAMPLES)
    found = load_environment(tmp_path, None)
    assert [host.name for host in found.hosts] == ["www1.example.org", "www2", "www3"]
    assert found.keyspace == types.KeyspaceConfig(["www1.example.org", "www2", "www3"])
    assert (found.hosts[1].role, found.hosts[1].pre_update) == ("web", ("./warm-up",))
    assert found.services == {"zerodata": ["www2"], "logstore": ["www2"]}
    assert found.root == "/srv/kickass"
    assert found.secrets == {".env": tmp_path / ".env"}
    assert found.hooks.pre_deploy == "make assets"
    assert found.ssh.key == "~/.ssh/id_ed25519"


def test_the_defaults_that_it_names_are_the_defaults(tmp_path: Path) -> None:
    named = {
        types.PolicyConfig: (
            "min_ready",
            "on_orphan",
            "orphan_after",
            "health_deadline",
            "drain",
            "step_deadline",
        ),
        types.Canary: ("hosts", "percent", "bake"),
        types.ReleaseConfig: ("compatible", "expires"),
        types.DeploymentConfig: ("root",),
    }
    from lib.duration import seconds

    for kind, keys in named.items():
        for key in keys:
            default = getattr(kind(), key)
            said = {found.strip() for found in re.findall(rf"\b{key}: *([^,}}#\n]+)", SOURCE)}
            if isinstance(default, float):
                assert default in {seconds(each) for each in said if each[0].isdigit()}, key
            else:
                assert str(default).lower() in said, key


def test_as_it_comes_it_names_no_host(tmp_path: Path) -> None:
    (tmp_path / "deployment.yaml").write_text(SOURCE)
    from lib import yamlfile

    assert yamlfile.load(tmp_path / "deployment.yaml", DeploymentConfig).environments == {}
