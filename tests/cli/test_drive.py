"""`ampzero drive`, as a host's agent has it: several command lines, one process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from support import Ampzero


def drive(lines: list[dict[str, Any]], cwd: Path) -> list[dict[str, Any]]:
    asked = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        [Ampzero().path, "drive"],
        input=asked,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_line_is_a_command_with_its_own_environment_and_an_error_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "amprun.yaml").write_text("services: {a: {comand: sleep 1}}\n")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    version, wrong, usage, away = drive(
        [
            {"argv": ["--version"], "env": env},
            {"argv": ["status", "."], "env": env},
            {"argv": ["no-such-command"], "env": env},
            {"argv": ["run", ".", "--dry-run"], "env": {**env, "AMPZERO_ROOT": str(tmp_path / "var")}},
        ],
        tmp_path,
    )
    assert version["code"] == 0 and version["out"].startswith("ampzero ")
    assert wrong["code"] == 4 and "services.a.comand: unknown key" in wrong["err"]
    assert usage["code"] == 2 and usage["out"] == ""
    assert away["code"] == 4
    assert not (tmp_path / "var").exists()


def test_an_instance_is_started_asked_and_stopped_by_one_process(tmp_path: Path) -> None:
    (tmp_path / "amprun.yaml").write_text("name: p\nservices: {a: {command: sleep 1000}}\n")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AMPZERO_ROOT": str(tmp_path / "var")}
    words = (["run", "."], ["status", ".", "--json"], ["stop", "."], ["status", "."])
    answers = drive([{"argv": list(each), "env": env} for each in words], tmp_path)
    assert [answer["code"] for answer in answers] == [0, 0, 0, 10]
    assert json.loads(answers[1]["out"])["state"] == "ready"
