"""A cgroup for a child and all below it, that bounds their memory and their number (cgroups(7)).

With v2 it lies below the nearest cgroup, from the supervisor's own upwards, that hands its controllers on and
that we may write. The supervisor's own hands on nothing, unless it is the root: it has processes in it
(cgroup-v2.rst, "No Internal Process Constraint"). With v1 it lies below our own, in each controller's tree.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")

FILES = {"memory": ("memory.max", "memory.limit_in_bytes"), "pids": ("pids.max", "pids.max")}
"""What the ceiling of a controller is written to, in v2 and in v1."""


def hold(pid: int, name: str, ceilings: Mapping[str, int]) -> None:
    """Put `pid` into the cgroup `name` with `ceilings`: bytes of `memory`, how many `pids`.

    Raises: OSError when one of them cannot be set.
    """
    # A leader that ended before what it had started left a cgroup that could not be removed then.
    for old in _found(f"{name.rpartition('-')[0]}-*"):
        with suppress(OSError):
            old.rmdir()
    for controllers in [tuple(ceilings)] if _is_v2() else [(each,) for each in ceilings]:
        _hold(pid, name, {each: ceilings[each] for each in controllers})


def killed_for_memory(name: str) -> bool:
    """Whether the kernel has killed in the cgroup `name`, since its memory was used up."""
    for folder in _found(name):
        for file in (folder / "memory.events", folder / "memory.oom_control"):
            with suppress(OSError, ValueError):
                counts = dict(line.split() for line in file.read_text().splitlines())
                if int(counts.get("oom_kill", 0)):
                    return True
    return False


def remove(name: str) -> None:
    """Remove the cgroup `name`, unless something lives in it."""
    for folder in _found(name):
        with suppress(OSError):
            folder.rmdir()


def _hold(pid: int, name: str, ceilings: Mapping[str, int]) -> None:
    last = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    for base in _bases(tuple(ceilings)):
        folder = base / f"ampzero-{name}"
        try:
            if _is_v2():
                _hand_on(base, ceilings)
            folder.mkdir(exist_ok=True)
            for controller, value in ceilings.items():
                (folder / FILES[controller][not _is_v2()]).write_text(str(value))
            (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            last = error
            with suppress(OSError):
                folder.rmdir()
        else:
            return
    raise last


def _hand_on(base: Path, controllers: Iterable[str]) -> None:
    """Have the cgroups below `base` get `controllers`, where it is ours to say.

    Raises: OSError when they do not.
    """
    control = base / "cgroup.subtree_control"
    missing = set(controllers) - set(control.read_text().split())
    if missing:
        if base != _own(""):
            raise OSError(errno.EOPNOTSUPP, f"{base} hands on no {' and no '.join(sorted(missing))}")
        control.write_text(" ".join(f"+{each}" for each in missing))


def _bases(controllers: tuple[str, ...]) -> list[Path]:
    """The cgroups in which one of ours may be, the best one first."""
    if not _is_v2():
        return [_own(each) for each in controllers]
    own = _own("")
    # A cgroup that lies outside of what is mounted here shows as /..
    if ".." in own.parts:
        return []
    return [own, *(each for each in own.parents if each.is_relative_to(CGROUPS))]


def _found(name: str) -> list[Path]:
    """The folders of the cgroup `name`, in which a `*` stands for anything."""
    with suppress(OSError):
        return [folder for base in _bases(tuple(FILES)) for folder in base.glob(f"ampzero-{name}")]
    return []


def _is_v2() -> bool:
    return (CGROUPS / "cgroup.controllers").exists()


def _own(controller: str) -> Path:
    """The cgroup that we are in: v1's of `controller`; v2's, which has no name, for the empty one."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return CGROUPS / controller / path.lstrip("/")
    return CGROUPS / controller
