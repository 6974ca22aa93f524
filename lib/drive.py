"""`ampzero drive` (internal): runs the command lines that arrive on its standard input, one after the other.

A host's agent has it run those of a switchover: to start a Python for each takes longer than what they do.
Protocol: a line of JSON {"argv": [...], "env": {...}} in, a line {"code", "out", "err"} out; it ends with its
input.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable

LARGEST = 1024 * 1024
"""Bytes of a line."""


def drive(main: Callable[[list[str]], int]) -> int:
    """Run command lines by `main` until the standard input ends."""
    answers = sys.stdout.buffer
    while line := sys.stdin.buffer.readline(LARGEST):
        asked = json.loads(line)
        os.environ.clear()
        os.environ.update(asked["env"])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(asked["argv"])
            except Exception:  # a bug, which must not end the commands that follow
                err.write(traceback.format_exc())
                code = 1
        answer = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
    return 0
