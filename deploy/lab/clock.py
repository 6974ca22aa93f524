"""A host whose clock is off, for its Python: the kernel has one real-time clock for all namespaces.

A host's system Python imports what a .pth file in its site-packages names (also with -I), and that shifts
what `time` and `datetime` say. nginx, ssh-keygen and `date` go on to see the machine's time. How far the
clock is off stands in a file which is read each time, so that it also jumps for what runs.
"""

from __future__ import annotations

NAME = "lab_clock"

MODULE = """\
import datetime, time

real = {name: getattr(time, name) for name in ("time", "time_ns", "clock_gettime", "gmtime", "localtime")}


def offset():
    with open(__file__ + ".offset") as file:
        return int(file.read())


time.time = lambda: real["time"]() + offset()
time.time_ns = lambda: real["time_ns"]() + offset() * 1_000_000_000
time.clock_gettime = lambda clock: real["clock_gettime"](clock) + offset() * (clock == time.CLOCK_REALTIME)
time.gmtime = lambda seconds=None: real["gmtime"](time.time() if seconds is None else seconds)
time.localtime = lambda seconds=None: real["localtime"](time.time() if seconds is None else seconds)


class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)


datetime.datetime = Shifted
"""

WRITE = """\
import os, pathlib, site, sys

folder = pathlib.Path(site.getsitepackages()[0])
folder.mkdir(parents=True, exist_ok=True)
for name, text in (
    ("{name}.py.offset", sys.argv[1]), ("{name}.py", sys.stdin.read()), ("{name}.pth", "import {name}")
):
    (folder / (name + ".new")).write_text(text + "\\n")
    os.replace(folder / (name + ".new"), folder / name)
"""


def script() -> str:
    """The program that puts MODULE, which it reads from stdin, where the host's Python imports it; its
    argument is how many seconds the clock is off."""
    return WRITE.format(name=NAME)
