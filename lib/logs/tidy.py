"""Compresses closed segments and deletes old ones: a short process of its own, at the lowest priority.

The supervisor runs it now and then (lib/supervisor/tidier.py), beside its loop and outside of its memory:
`python -I -S lib/logs/tidy.py LOGS SECONDS COMPRESS`. It may be killed at any moment: a compressed segment
is written aside, made safe, and takes its name before the plain one goes; what is left over aside is removed
by the next. The newest segment of a service is never touched: it is written to, and holds the sequence.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lib.logs import segments
from lib.logs.record import PACKED_SUFFIX, segment_name

ASIDE = ".gz.new"
"""Behind the name of a segment while its compressed form is written."""
LEVEL = 4
"""Of gzip: twice as fast as the usual 6, and log text hardly becomes longer."""
BLOCK = 1 << 20


def tidy(folder: Path, age: float, compress: bool, now: float) -> list[str]:
    """Tidy one service's `folder`: what could not be done, in words.

    Segments whose last line is older than `age` seconds (0: never) go; others but the newest are compressed.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []  # the folder went meanwhile
    failures: list[str] = []
    try:
        # One at a time: another may be left over from a supervisor that was killed.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f"*{ASIDE}"):
            left.unlink(missing_ok=True)
        for first in segments.firsts(folder)[:-1]:
            if age and segments.written(folder, first) < now - age:
                segments.remove(folder, first)
            elif compress and (folder / segment_name(first)).exists():
                _compress(folder, first, handle)
    except BlockingIOError:
        pass
    except OSError as error:
        failures.append(f"{folder.name}: {error.strerror or error}")
    finally:
        os.close(handle)
    return failures


def _compress(folder: Path, first: int, handle: int) -> None:
    """Raises: OSError."""
    import gzip

    plain = folder / segment_name(first)
    aside = folder / (segment_name(first) + ASIDE)
    packed = folder / (segment_name(first) + PACKED_SUFFIX)
    try:
        if not packed.exists():
            with plain.open("rb") as source, aside.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                with gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as target:
                    shutil.copyfileobj(source, target, BLOCK)
                file.flush()
                os.fsync(file.fileno())
                found = os.fstat(source.fileno())
                os.utime(aside, ns=(found.st_atime_ns, found.st_mtime_ns))
                if not found.st_nlink:
                    # It was deleted meanwhile: it must not come back.
                    aside.unlink(missing_ok=True)
                    return
            aside.replace(packed)
            os.fsync(handle)
        plain.unlink(missing_ok=True)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def be_modest() -> None:
    """Take only the processor time that nobody else wants."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: list[str]) -> int:
    """Tidy all services' folders in LOGS; 1 when something could not be done."""
    logs, age, compress = Path(arguments[0]), float(arguments[1]), arguments[2] == "1"
    be_modest()
    failures = [
        failure
        for name in segments.services(logs)
        for failure in tidy(logs / name, age, compress, time.time())
    ]
    for failure in failures:
        sys.stderr.write(f"log segments were not tidied: {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
