"""The commands that the storm gives: drawn by lot, with what they do to what is expected."""

from __future__ import annotations

import random
from collections.abc import Callable

from chaos_model import MOST, Expected, Model

Command = tuple[tuple[str, ...], list[Model], Callable[[], None]]
"""Its words; the services that it restarts; and what it does to what is expected, once it is done."""


class Commands:
    """Each gives one. `changed` is called when what amprun.yaml says has to change first."""

    def __init__(self, chance: random.Random, expected: Expected, changed: Callable[[], None]) -> None:
        self._chance, self._expected, self._changed = chance, expected, changed

    def any(self) -> Command:
        """Any of the commands that change something."""
        return self._chance.choice(
            [self.scale, self.restart, self.roll, self.stop, self.start, self.change]
        )()

    def scale(self) -> Command:
        name = self._chance.choice(["held", "http", "worker", "deaf"])
        count = self._chance.randint(0, MOST)
        model = self._expected.services[name]
        return ("scale", f"{name}={count}"), [model], lambda: model.resize(count)

    def restart(self) -> Command:
        name = self._service()
        return ("restart", name), self._expected.family(name), lambda: self._expected.want(name)

    def roll(self) -> Command:
        name = self._chance.choice(["held", "held", self._service()])
        return ("restart", "--rolling", name), [self._expected.services[name]], lambda: None

    def stop(self) -> Command:
        name = self._service()
        model = self._expected.services[name]

        def then() -> None:
            model.wanted = False

        return ("stop", name), [model], then

    def start(self) -> Command:
        stopped = [name for name, model in self._expected.services.items() if not model.wanted]
        name = self._chance.choice(stopped or list(self._expected.services))
        return ("start", name), self._expected.family(name), lambda: self._expected.want(name)

    def change(self) -> Command:
        model = self._expected.services[self._service()]
        model.generation += 1
        self._changed()
        return ("reload",), [model], lambda: None

    def _service(self) -> str:
        """Any service that runs on."""
        return self._chance.choice([name for name in self._expected.services if name != "once"])
