from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support import Ampzero

QUIET = "services: {sleeper: {command: sleep 1000}}\n"


def test_an_instance_that_does_not_run_has_no_link(
    make_instance: Callable[..., Path], ampzero: Ampzero
) -> None:
    folder = make_instance(QUIET)
    result = ampzero("login", folder)
    assert result.code == 10 and result.out == ""
    assert result.err.startswith("ampzero: error: ")


def test_an_instance_without_a_console_says_what_it_lacks(
    make_instance: Callable[..., Path], ampzero: Ampzero
) -> None:
    folder = make_instance(QUIET)
    assert ampzero("run", folder).code == 0
    result = ampzero("login", folder)
    assert result.code == 2 and "has no nginx service" in result.err and "hint: add `nginx: {}`" in result.err
