from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib import schema
from lib.errors import UsageError

COMMITTED = Path(__file__).resolve().parents[2] / "docs/schema"


@pytest.mark.parametrize("name", sorted(schema.TYPES))
def test_the_committed_schemas_are_current(name: str) -> None:
    committed = (COMMITTED / f"{name}.schema.json").read_text()
    assert committed == schema.text(name), f"ampzero schema {name} > docs/schema/{name}.schema.json"


def test_there_is_none_too_many() -> None:
    assert {path.name for path in COMMITTED.glob("*.json")} == {
        f"{name}.schema.json" for name in schema.TYPES
    }


def test_what_editors_need() -> None:
    made = json.loads(schema.text("amprun.yaml"))
    service = made["$defs"]["ServiceConfig"]
    assert service["additionalProperties"] is False
    assert {"command", "ready", "restart"} <= set(service["properties"])


def test_unknown() -> None:
    with pytest.raises(UsageError) as caught:
        schema.schema("amprum")
    assert caught.value.hint == "did you mean 'amprun'?"
