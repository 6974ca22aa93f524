"""A running instance is reached although its amprun.yaml is not what it was started from any more."""

from __future__ import annotations

from collections.abc import Callable

from running_support import Running

MakeRunning = Callable[..., Running]

ONE = "services:\n  job: {command: sleep 600}\n"


def test_a_typo_keeps_nobody_from_asking_and_stopping(make_running: MakeRunning) -> None:
    one = make_running(ONE).start()
    (one.folder / "amprun.yaml").write_text("servces: {")
    asked = one.ampzero("status", one.folder)
    assert asked.code == 0, asked
    assert "job.1" in asked.out
    assert one.ampzero("logs", one.folder).code == 0
    assert one.stop().code == 0
    after = one.ampzero("status", one.folder)
    assert after.code == 4, after


def test_an_instance_that_was_renamed_while_it_ran_is_stopped(make_running: MakeRunning) -> None:
    one = make_running(ONE).start()
    file = one.folder / "amprun.yaml"
    file.write_text("name: other\n" + file.read_text().replace("name: demo\n", ""))
    assert one.ampzero("status", one.folder).code == 0
    assert one.stop().code == 0
