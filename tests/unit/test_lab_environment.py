"""A lab written into a deployment.yaml: everything else in it stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.lab import Lab
from deploy.lab.environment import section, write_into
from deploy.lab.record import Record
from lib import yamlfile
from lib.errors import ConfigError

PRODUCTION = {"hosts": ["deploy@www1.example.org"]}
TEMPLATE = Path(__file__).parent.parent.parent / "instance_template/deployment.yaml"


def lab(*hosts: str) -> Lab:
    """A lab that is only described."""
    return Lab(Record("lab", "10.213.7.0/24", {host: f"10.213.7.{11 + i}" for i, host in enumerate(hosts)}))


def environments(path: Path) -> dict[str, object]:
    found: dict[str, object] = yamlfile.read(path).plain()["environments"]
    return found


def expected(*hosts: str) -> dict[str, object]:
    return {
        "hosts": [{"name": host, "address": f"root@10.213.7.{11 + i}"} for i, host in enumerate(hosts)],
        "ssh": {"key": "/run/ampzero-lab/lab/ssh/key", "known_hosts": "/run/ampzero-lab/lab/ssh/known_hosts"},
    }


@pytest.mark.parametrize("text", [
    "",
    "# only a comment\n",
    "environments:\n",
    "environments: {}  # none yet\nrelease: {compatible: true}\n",
    "release: {compatible: true}",
    TEMPLATE.read_text(),
])  # fmt: skip
def test_a_file_without_environments_gets_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(text)
    write_into(file, lab("host-1", "host-2"))
    assert environments(file) == {"lab": expected("host-1", "host-2")}
    assert ("compatible" in text) == ("compatible" in file.read_text())
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in file.read_text().splitlines() if line.startswith("#")
    ]


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    write_into(tmp_path / "deployment.yaml", lab("host-1"))
    assert environments(tmp_path / "deployment.yaml") == {"lab": expected("host-1")}


@pytest.mark.parametrize("indent", ["  ", "    "])
def test_other_environments_and_comments_stay(tmp_path: Path, indent: str) -> None:
    file = tmp_path / "deployment.yaml"
    production = f"{indent}production:  # the one that counts\n{indent}  hosts: [deploy@www1.example.org]\n"
    file.write_text(f"# ours\nenvironments:\n\n{indent}# first\n{production}\nhooks: {{}}\n")
    for hosts in (("host-1", "host-2", "host-3"), ("host-1",)):
        write_into(file, lab(*hosts))
        assert environments(file) == {"production": PRODUCTION, "lab": expected(*hosts)}
        assert production in file.read_text()
        assert file.read_text().endswith("hooks: {}\n")
    assert file.read_text().startswith("# ours\n")


def test_writing_it_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(f"environments:\n  lab:\n    hosts: []\n  b:\n    hosts: [x@y]\n# end\n{''}")
    write_into(file, lab("host-1"))
    once = file.read_text()
    write_into(file, lab("host-1"))
    assert file.read_text() == once
    assert set(environments(file)) == {"lab", "b"}
    assert once.endswith("# end\n")


@pytest.mark.parametrize("text", [
    "environments: {production: {hosts: [deploy@www1.example.org]}}\n",
    "environments: {\n}\n",
    "environments: [production]\n",
    "- a list\n",
    "just text\n",
])  # fmt: skip
def test_a_file_written_otherwise_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        write_into(file, lab("host-1"))
    assert file.read_text() == text


def test_the_section_is_named_after_the_lab() -> None:
    assert section(lab("host-1")).splitlines()[0] == "  lab:"
