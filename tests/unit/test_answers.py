from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import UsageError
from lib.init import answers


def test_default_place_is_beside_the_checkout_or_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = tmp_path / "ampify/lib/init/answers.py"
    code.parent.mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(answers, "__file__", str(code))
    assert answers.default_place() == tmp_path / "here"
    (tmp_path / "ampify/.git").mkdir()
    assert answers.default_place() == tmp_path


def test_default_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated_home: Path) -> None:
    monkeypatch.setattr(answers, "DEFAULT_ROOT", str(tmp_path / "opt/var"))
    assert answers.default_root() == str(tmp_path / "opt/var")
    (tmp_path / "opt").touch()
    assert answers.default_root() == "~/xdg_state_home/ampzero"
    assert answers.default_root(sudo=True) == str(tmp_path / "opt/var")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert answers.default_root() == "/somewhere/ampzero"


@pytest.mark.parametrize(
    "pair", ["port", "port=", "port=70000", "port=1 2", "port=٣", "x=1", "user=", "user=a\nb", "root=",
             "root=~no-such-user-here/x", "root=a\0b", "hub=https://x"]
)  # fmt: skip
def test_bad_settings(pair: str) -> None:
    with pytest.raises(UsageError):
        answers.settings((pair,))


def test_good_settings() -> None:
    given = answers.settings(("port=8041", "amprun_root_directory=/x", "user=Zoë Q.", "hub=local"))
    assert given == {"port": 8041, "root": "/x", "user": "Zoë Q.", "hub": "local"}
