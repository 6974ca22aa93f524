from __future__ import annotations

import subprocess

import pytest

from lib.boot import crontab
from lib.errors import ConfigError


@pytest.mark.parametrize("bad", ["/a\nb", "/a\x00b", "/a\udcffb"])
def test_a_new_line_in_a_path_made_a_crontab_line_of_its_own(bad: str) -> None:
    for argv, mark, path in ((["/x", bad], "m", "/bin"), (["/x"], bad, "/bin"), (["/x"], "m", bad)):
        with pytest.raises(ConfigError) as error:
            crontab.line(argv, mark, path)
        assert "\n" not in error.value.message


def test_a_line_with_a_percent_sign_was_never_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mark, argv = "ampzero:/a%b/v", ["echo", "50% 'of' $HOME"]
    kept = ["# mine", crontab.line(argv, mark, "/usr/bin:/bin")]
    monkeypatch.setattr(crontab, "read", lambda: kept)
    monkeypatch.setattr(crontab, "available", lambda: True)
    assert crontab.has(mark)
    assert not crontab.has("ampzero:/other")
    # What cron makes of it: `\%` is `%` for the shell (crontab(5)).
    command = kept[1].removeprefix("@reboot ").replace("\\%", "%").replace(">/dev/null 2>&1", "")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert done.stdout == "50% 'of' $HOME\n"
