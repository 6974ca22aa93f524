"""A seeded storm over one instance: kills, reloads, scales, restarts, floods; at each rest all must be well.

It keeps a journal of what it did and from that the counters and states that the status must show. What it
does while the supervisor may be killed in the middle leaves some room: `slack` restarts of a service.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import chaos_checks as checks
from chaos_commands import Command, Commands
from chaos_load import Load
from chaos_model import MOST, Broken, Expected, Model
from running_support import Running, alive, carrying, kill, wait_gone
from support import Result, wait_for

from lib.control.client import ControlClient
from lib.errors import AmpzeroError
from lib.supervisor import tree

REST = 60.0
"""Seconds within which the instance must be at rest again after each action."""


class Chaos:
    """The storm. `one` is an instance whose folder is still empty of amprun.yaml's services."""

    def __init__(self, one: Running, seed: int, python: str) -> None:
        self.one = one
        self.python = python
        self.chance = random.Random(seed)
        self.journal: list[str] = []
        self.kills = 0
        """How often the supervisor was killed."""
        self.ports: set[int] = set()
        self.supervisor = 0
        self.expected = Expected()
        self.services = self.expected.services
        self.commands = Commands(self.chance, self.expected, self.write_config)
        self._begun = time.monotonic()
        self._base = 0

    # What is done

    def run(self, seconds: float) -> None:
        """Storm for about `seconds`, then stop, and look whether anything is left. Raises: Broken."""
        self.write_config()
        self.must(self.one.run(), "run")
        self.rest()
        actions = self.actions()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            action = self.chance.choices(list(actions), weights=list(actions.values()))[0]
            action()
            self.rest()
        self.stop_everything()

    def actions(self) -> dict[Callable[[], None], int]:
        """All of them, with their weights."""
        return {
            self.kill_children: 8, self.kill_supervisor: 4, self.kill_supervisor_amid: 8,
            partial(self.obey, self.commands.scale): 5, partial(self.obey, self.commands.restart): 3,
            partial(self.obey, self.commands.roll): 4, partial(self.obey, self.commands.stop): 4,
            partial(self.obey, self.commands.start): 5, partial(self.obey, self.commands.change): 4,
            self.add_or_remove: 3, self.break_config: 3, self.never_ready: 2, self.flood: 4,
            self.run_again: 1, self.begin_anew: 1,
        }  # fmt: skip

    def kill_children(self) -> None:
        """Kill some processes; each restarts once more."""
        for _ in range(self.chance.randint(1, 3)):
            if victim := self.pick_process():
                name, number, pid = victim
                how = "KILL" if name == "deaf" else self.chance.choice(["KILL", "TERM"])
                self.note(f"SIG{how} to {name}.{number} (pid {pid})")
                self.count(name, number)
                tree.send([pid], signal.Signals[f"SIG{how}"])
                wait_gone(pid)
                if self.chance.random() < 0.5:
                    self.rest(look=False)

    def kill_supervisor(self) -> None:
        """Kill the supervisor, perhaps children while nobody looks; run again."""
        victims = [victim for _ in range(self.chance.randint(0, 2)) if (victim := self.pick_process())]
        early = self.chance.random() < 0.5
        if early:
            self.kill_now()
        for name, number, pid in {victim[:2]: victim for victim in victims}.values():
            self.note(
                f"SIGKILL to {name}.{number} (pid {pid}), {'after' if early else 'before'} its supervisor"
            )
            self.count(name, number)
            kill(pid)
        if not early:
            time.sleep(self.chance.choice([0, 0.001, 0.01, 0.05]))
            self.kill_now()
        self.run_after_kill()

    def kill_supervisor_amid(self) -> None:
        """Kill it in the middle of a command; run; give the command again."""
        words, models, then = self.commands.any()
        delay = self.chance.random() * 0.8
        self.note(f"{' '.join(words)}, and SIGKILL to the supervisor after {delay:.3f} s")
        worker = threading.Thread(target=self.ampzero, args=words)
        worker.start()
        time.sleep(delay)
        self.kill_now()
        worker.join(REST)
        if worker.is_alive():
            raise Broken(f"{words} hangs after the kill of the supervisor")
        self.run_after_kill()
        for model in models:
            for bounds in model.restarts.values():
                # A process that the command was just ending may count as one that ended by itself.
                bounds[1] += 1
        self.must(self.ampzero(*words), " ".join(words))
        then()

    def obey(self, draw: Callable[[], Command]) -> None:
        """Give a command, which must succeed. In a rolling restart of `held` no connection fails."""
        words, _, then = draw()
        self.note(" ".join(words))
        held = self.services["held"]
        if words[:2] == ("restart", "--rolling") and words[-1] == "held" and held.wanted and held.processes:
            with Load(self.socket) as failures:
                self.must(self.ampzero(*words), " ".join(words))
            if failures:
                raise Broken(f"{len(failures)} connections failed in a rolling restart: {failures[:3]}")
        else:
            self.must(self.ampzero(*words), " ".join(words))
        then()

    def add_or_remove(self) -> None:
        """A service comes or goes."""
        if "extra" in self.services:
            del self.services["extra"]
        else:
            self.services["extra"] = Model("plain", self.chance.randint(1, 2), ("http",))
        self.write_config()
        self.obey(lambda: (("reload",), [], self.expected.want_extra))

    def break_config(self) -> None:
        """A reload of a wrong file changes nothing."""
        text = self.chance.choice(["services: [", "services: {web: {command: 1, nonsense: 2}}",
                                   "services: {a: {command: x, depends_on: [b]}}", ""])  # fmt: skip
        self.note(f"a bad reload: {text!r}")
        before = self.pids()
        (self.one.folder / "amprun.yaml").write_text(f"{self.head()}{text}\n" if text else "\0\xff")
        done = self.ampzero("reload")
        self.write_config()
        if done.code == 0:
            raise Broken(f"a reload of {text!r} succeeded: {done}")
        if self.pids() != before:
            raise Broken(f"a bad reload changed {before} into {self.pids()}")

    def never_ready(self) -> None:
        """A new version that never becomes ready: the old one serves."""
        name = self.chance.choice(["held", "http", "worker"])
        model = self.services[name]
        if not model.wanted or not model.processes:
            return
        self.note(f"reload of {name} that never becomes ready")
        before = self.pids()
        self.write_config(bad=name)
        done = self.ampzero("reload")
        self.write_config()
        if done.code == 0:
            raise Broken(f"a reload that never becomes ready succeeded: {done}")
        if name == "held" and self.pids() != before:
            raise Broken(f"the old one of {name} is not what it was: {before} -> {self.pids()}")
        self.rest()
        done = self.must(self.ampzero("reload", "--dry-run"), "reload --dry-run")
        if "nothing changed" not in done.out:
            raise Broken(f"after a reload that failed, the plan differs: {done.out}")

    def flood(self) -> None:
        """Let a service write many lines at once."""
        name = self.chance.choice(["worker", "http", "held", "deaf"])
        if self.services[name].wanted and self.services[name].processes:
            self.note(f"a flood of {name}")
            tree.send(self.pids(name), signal.SIGUSR1)

    def run_again(self) -> None:
        """A second run changes nothing."""
        before = self.pids()
        self.note("run, while it runs")
        self.must(self.one.run(), "run")
        if self.pids() != before:
            raise Broken("a second run changed something")

    def begin_anew(self) -> None:
        """Stop everything and run it again: it is as amprun.yaml says, and counts from 0."""
        self.stop_everything()
        self.note("run")
        for model in self.services.values():
            model.wanted, model.restarts = True, {}
            model.resize(model.configured)
        self.must(self.one.run(), "run")
        self._base = 0

    def stop_everything(self) -> None:
        """After a stop nothing is left: no process, no port, no socket. Raises: Broken."""
        self.note("stop")
        status = self.status()
        self.must(self.ampzero("stop"), "stop")
        left = carrying(f"AMPZERO_VAR={status['var']}")
        found = [f"pid {pid} ({tree.command_line(pid)}) is left" for pid in left]
        found += checks.open_ports(self.ports)
        if not wait_gone(self.supervisor):
            found.append("the supervisor is left")
        found += [f"{path} is left" for path in status["sockets"].values() if Path(path).exists()]
        if (Path(status["var"]) / "state/journal").exists():
            found.append("the journal is left")
        found += checks.sequences(Path(status["var"]))
        found += checks.tracebacks(Path(status["var"]))
        for name in ("held", "http", "worker", "deaf"):
            found += checks.numbering(self.one, name, self.kills * MOST)
        self.fail_on(found)

    # The rest after each

    def rest(self, *, look: bool = True) -> None:
        """Wait until the status is as the model says; then look for what must not be. Raises: Broken."""
        found: list[str] = []

        def settled() -> bool:
            try:
                status = self.status()
                self.supervisor = status["supervisor"]["pid"]
                self.ports.update(
                    port for each in status["services"] for one in each["processes"] for port in one["ports"]
                )
                found[:] = self.expected.differences(status)
            except (AmpzeroError, OSError) as error:
                found[:] = [f"no status: {error}"]
            return not found

        if not wait_for(settled, REST, step=0.02):
            self.fail_on(found)
        if look:
            status: dict[str, Any] = {}

            def well() -> bool:
                status.update(self.status())
                found[:] = [*checks.orphans(status), *checks.twins(status), *checks.pipes(status)]
                return not found

            if not wait_for(well, step=0.1):
                self.fail_on(found)
            self.fail_on([*checks.tracebacks(Path(status["var"])), *self.leaks(status)])

    def leaks(self, status: dict[str, Any]) -> list[str]:
        """Descriptors of the supervisor that no process accounts for."""
        living = sum(p["pid"] is not None for s in status["services"] for p in s["processes"])
        others = checks.descriptors(self.supervisor) - 3 * living - len(status["services"])
        self._base = self._base or others
        return [f"{others} descriptors, {self._base} at first"] if others > self._base + 25 else []

    # Helpers

    def head(self) -> str:
        """What stands before the services."""
        return (
            f"name: {self.one.folder.name}\namprun_root_directory: {self.one.root}\n"
            "logs: {segment: 1, keep: 200, compress: false}\n"
        )

    def write_config(self, bad: str = "") -> None:
        """amprun.yaml as the model is; `bad` never becomes ready."""
        services = self.expected.config(self.python, self.socket, bad)
        (self.one.folder / "amprun.yaml").write_text(f"{self.head()}services:\n{services}")

    @property
    def socket(self) -> Path:
        """Where `held` answers."""
        return self.one.folder / "held.sock"

    def ampzero(self, command: str, *words: str) -> Result:
        """`ampzero COMMAND FOLDER WORDS`."""
        return self.one.ampzero(command, self.one.folder, *words)

    def status(self) -> dict[str, Any]:
        """The status, asked at the control socket."""
        found: dict[str, Any] = ControlClient(self._control()).call("status", 30)
        return found

    def _control(self) -> Path:
        found = wait_for(self._sockets)
        if not found:
            raise Broken("there is no control socket")
        return self._sockets()[0]

    def _sockets(self) -> list[Path]:
        from lib.loader import open_instance

        path = open_instance(str(self.one.folder), None).sockets / "control.sock"
        return [path] if path.exists() else []

    def pids(self, name: str = "") -> list[int]:
        """The pids of a service, or of all."""
        return [
            p["pid"] for s in self.status()["services"] if name in ("", s["name"])
            for p in s["processes"] if p["pid"]
        ]  # fmt: skip

    def pick_process(self) -> tuple[str, int, int] | None:
        """A process that is ready: its service, number, pid."""
        found = [
            (s["name"], p["number"], p["pid"]) for s in self.status()["services"] for p in s["processes"]
            if p["state"] == "ready" and p["pid"]
        ]  # fmt: skip
        return self.chance.choice(found) if found else None

    def count(self, name: str, number: int) -> None:
        """One more restart of a process."""
        for side in (0, 1):
            self.services[name].restarts[number][side] += 1

    def kill_now(self) -> None:
        """SIGKILL to the supervisor."""
        self.note(f"SIGKILL to the supervisor (pid {self.supervisor})")
        kill(self.supervisor)
        if not wait_gone(self.supervisor):
            raise Broken("the supervisor does not die")
        self.kills += 1

    def run_after_kill(self) -> None:
        """Take over. Raises: Broken."""
        if said := list(checks.tracebacks(self.one.var)):
            raise Broken(*said)
        self.note("run")
        self.must(self.one.run(), "run")
        self.supervisor = self.status()["supervisor"]["pid"]
        self._base = 0

    def must(self, done: Result, what: str) -> Result:
        """Raises: Broken when the command failed."""
        if done.code != 0:
            raise Broken(f"{what}: exit code {done.code}: {done.err or done.out}")
        return done

    def note(self, what: str) -> None:
        """Into the journal."""
        self.journal.append(f"{time.monotonic() - self._begun:8.3f} {what}")

    def fail_on(self, found: list[str]) -> None:
        """Raises: Broken when there is anything."""
        if found:
            raise Broken("\n".join(found))

    def end(self) -> None:
        """End everything, whatever became of it."""
        self.one.end()
        if self.supervisor and alive(self.supervisor):
            kill(self.supervisor)
