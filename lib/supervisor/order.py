"""The order in which services start: each after those that it depends on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class CycleError(Exception):
    """Names that depend on each other in a circle; `cycle` begins and ends with the same one."""

    def __init__(self, cycle: list[str]) -> None:
        super().__init__(" -> ".join(cycle))
        self.cycle = cycle


def ordered(dependencies: Mapping[str, Iterable[str]]) -> list[str]:
    """All names, each after its dependencies; otherwise in the order of `dependencies`.

    `dependencies` maps each name to those it depends on; a name that is no key of it is left out.
    It does not recurse: a chain may be as long as there are services.

    Raises: CycleError.
    """
    done: dict[str, None] = {}
    for start in dependencies:
        # The names that are being visited, each with those of its dependencies that are still to look at.
        path: dict[str, None] = {start: None} if start not in done else {}
        left = [iter(list(dependencies[start]))] if path else []
        while path:
            following = next(left[-1], None)
            if following is None:
                done[path.popitem()[0]] = None
                left.pop()
            elif following in path:
                names = list(path)
                raise CycleError([*names[names.index(following) :], following])
            elif following not in done and following in dependencies:
                path[following] = None
                left.append(iter(list(dependencies[following])))
    return list(done)
