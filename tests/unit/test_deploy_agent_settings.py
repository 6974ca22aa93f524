"""What an agent is told for its own host: taken aside, adopted by the switch, and never half."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.agent import settings
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

FIRST = {"cluster.json": "{}", "client.key": "first"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "var").mkdir()
    return Layout(tmp_path)


def files(layout: Layout) -> dict[str, str]:
    folder = layout.var / "demo/state/keyspace"
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}


def test_what_is_taken_counts_from_the_switch_on_and_the_old_goes(layout: Layout) -> None:
    settings.take(layout, "demo", {"keyspace": FIRST})
    assert files(layout) == {} and settings.told(layout, "demo") == {}
    settings.adopt(layout, "demo")
    settings.adopt(layout, "demo")
    assert files(layout) == FIRST
    assert settings.told(layout, "demo") == {"keyspace": {"cluster.json": "{}"}}, "no key leaves the host"
    settings.take(layout, "demo", {"keyspace": {"client.key": "given up"}})
    settings.take(layout, "demo", {})
    settings.adopt(layout, "demo")
    assert files(layout) == FIRST
    settings.take(layout, "demo", {"keyspace": {"client.key": "second"}})
    settings.adopt(layout, "demo")
    assert files(layout) == {"client.key": "second"}
    state = layout.var / "demo/state"
    assert len([path for path in state.iterdir() if path.is_dir() and not path.is_symlink()]) == 1
    for path in state.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_that_was_made_by_hand_gives_way(layout: Layout) -> None:
    folder = layout.var / "demo/state/keyspace"
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text("by hand")
    assert settings.told(layout, "demo") == {"keyspace": {"cluster.json": "by hand"}}
    settings.take(layout, "demo", {"keyspace": FIRST})
    settings.adopt(layout, "demo")
    assert files(layout) == FIRST


@pytest.mark.parametrize(
    "groups",
    [
        {"elsewhere": {}},
        {"keyspace": {"../evil": ""}},
        {"keyspace": {"ca.pem": 1}},
        {"keyspace": []},
        {"keyspace": {"ca.pem": "x" * (settings.LARGEST + 1)}},
    ],
)
def test_what_no_group_has_is_refused_and_nothing_is_written(
    layout: Layout, groups: dict[str, object]
) -> None:
    with pytest.raises(AgentError):
        settings.take(layout, "demo", groups)
    assert not (layout.var / "demo").exists()


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.text(max_size=20) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["keyspace", "server", "ca.pem", "services.json", "../x"]), inner, max_size=3
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_body_is_groups_of_files_or_an_agent_error(body: bytes) -> None:
    with TemporaryDirectory() as place:
        layout = Layout(Path(place) / "root")
        try:
            settings.take(layout, "demo", settings.parse(body))
        except AgentError as error:
            assert error.exit_code == settings.REFUSED
            assert not layout.var.exists()
            return
        names = {path.name for path in layout.var.rglob("*") if path.is_file()}
        assert names <= {name for group in settings.GROUPS.values() for name in group}
