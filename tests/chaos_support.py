"""A seeded storm over one instance: kills, reloads, scales, restarts, floods; at each rest all must be well.

It keeps a journal of what it did and from that the counters and states that the status must show. What it
does while the supervisor may be killed in the middle leaves some room: `slack` restarts of a service.
"""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chaos_checks as checks
from running_support import Running, alive, carrying, kill, wait_gone
from support import Result, wait_for

from lib.control.client import ControlClient
from lib.errors import AmpzeroError
from lib.supervisor import tree

REST = 60.0
"""Seconds within which the instance must be at rest again after each action."""

MOST = 4
"""Processes of a service at most: the storm is bounded."""

APP = Path(__file__).with_name("chaos_app.py")


class Broken(Exception):
    """Something does not hold."""


@dataclass
class Model:
    """What a service must be like now; `low` and `high` bound each process's restarts by its number."""

    kind: str
    processes: int
    needs: tuple[str, ...] = ()
    wanted: bool = True
    generation: int = 0
    configured: int = 0
    restarts: dict[int, list[int]] = field(default_factory=dict)

    def resize(self, count: int) -> None:
        """Have `count` processes: new ones begin to count at 0."""
        self.processes = count
        self.restarts = {n: self.restarts.get(n, [0, 0]) for n in range(1, count + 1)}


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
        self.services: dict[str, Model] = {}
        self._begun = time.monotonic()
        self._base = 0
        for name, model in {
            "held": Model("held", 2), "http": Model("http", 2), "worker": Model("plain", 2, ("held",)),
            "deaf": Model("deaf", 1), "forker": Model("forker", 1, ("http",)), "once": Model("once", 1),
        }.items():  # fmt: skip
            model.configured = model.processes
            model.resize(model.processes)
            self.services[name] = model

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
            self.kill_children: 8, self.kill_supervisor: 4, self.kill_supervisor_amid: 8, self.scale: 5,
            self.restart: 3, self.roll: 4, self.stop_some: 4, self.start_some: 5, self.change: 4,
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
        words, models, then = self.some_command()
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

    def scale(self) -> None:
        """Another number of processes."""
        self.obey(*self.scale_command())

    def restart(self) -> None:
        """Stop and start a service, or one process of it."""
        self.obey(*self.restart_command())

    def roll(self) -> None:
        """A rolling restart; where the socket is held, no connection fails."""
        self.obey(*self.roll_command())

    def stop_some(self) -> None:
        """Stop a service, or all that need it first."""
        self.obey(*self.stop_command())

    def start_some(self) -> None:
        """Start a service and what it needs."""
        self.obey(*self.start_command())

    def change(self) -> None:
        """Change the environment of a service and reload."""
        self.obey(*self.change_command())

    def obey(self, words: tuple[str, ...], models: list[Model], then: Callable[[], None]) -> None:
        """Give a command, which must succeed; `then` is what it does to the model."""
        self.note(" ".join(words))
        held = self.services["held"]
        if words[:2] == ("restart", "--rolling") and words[-1] == "held" and held.wanted and held.processes:
            with self.load() as failures:
                self.must(self.ampzero(*words), " ".join(words))
            if failures:
                raise Broken(f"{len(failures)} connections failed in a rolling restart: {failures[:3]}")
        else:
            self.must(self.ampzero(*words), " ".join(words))
        then()

    def some_command(self) -> tuple[tuple[str, ...], list[Model], Callable[[], None]]:
        """Any of the commands that change something."""
        return self.chance.choice(
            [self.scale_command, self.restart_command, self.roll_command, self.stop_command,
             self.start_command, self.change_command]
        )()  # fmt: skip

    def scale_command(self) -> tuple[tuple[str, ...], list[Model], Callable[[], None]]:
        name = self.chance.choice(["held", "http", "worker", "deaf"])
        count = self.chance.randint(0, MOST)
        model = self.services[name]
        return ("scale", f"{name}={count}"), [model], lambda: model.resize(count)

    def restart_command(self) -> tuple[tuple[str, ...], list[Model], Callable[[], None]]:
        name = self.pick_service()
        return ("restart", name), self.family(name), lambda: self.want(name)

    def roll_command(self) -> tuple[tuple[str, ...], list[Model], Callable[[], None]]:
        name = self.chance.choice(["held", "held", self.pick_service()])
        return ("restart", "--rolling", name), [self.services[name]], lambda: None

    def stop_command(self) -> tuple[tuple[str, ...], list[Model], Callable[[], None]]:
        name = self.pick_service()
        model = self.services[name]

        def then() -> None:
            model.wanted = False

        return ("stop", name), [model], then

    def start_command(self) -> tuple[tuple[str, ...], list[Model], Callable[[], None]]:
        stopped = [name for name, model in self.services.items() if not model.wanted]
        name = self.chance.choice(stopped or list(self.services))
        return ("start", name), self.family(name), lambda: self.want(name)

    def change_command(self) -> tuple[tuple[str, ...], list[Model], Callable[[], None]]:
        model = self.services[self.pick_service()]
        model.generation += 1
        self.write_config()
        return ("reload",), [model], lambda: None

    def add_or_remove(self) -> None:
        """A service comes or goes."""
        if "extra" in self.services:
            del self.services["extra"]
        else:
            self.services["extra"] = Model("plain", 0, ("http",))
            self.services["extra"].resize(self.chance.randint(1, 2))
            self.services["extra"].configured = self.services["extra"].processes
        self.write_config()
        self.obey(("reload",), [], lambda: self.want("extra") if "extra" in self.services else None)

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
                found[:] = self.differences(self.status())
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

    def differences(self, status: dict[str, Any]) -> Iterator[str] | list[str]:
        """Where the status is not as the model."""
        found = []
        self.supervisor = status["supervisor"]["pid"]
        services = {service["name"]: service for service in status["services"]}
        if services.keys() != self.services.keys():
            found.append(f"services {list(services)}, not {list(self.services)}")
        for name, model in self.services.items():
            processes = {p["number"]: p for p in services.get(name, {}).get("processes", [])}
            if sorted(processes) != sorted(model.restarts):
                found.append(f"{name} has processes {sorted(processes)}, not {sorted(model.restarts)}")
            for number, process in processes.items():
                up = ("completed",) if model.kind == "once" else ("ready",)
                state = process["state"]
                if state not in (up if model.wanted else ("stopped",)):
                    found.append(f"{name}.{number} is {state} ({process['reason']}), wanted: {model.wanted}")
                low, high = model.restarts.get(number, [0, 0])
                if not low <= process["restarts"] <= high:
                    found.append(f"{name}.{number} restarted {process['restarts']} times, not {low}..{high}")
                self.ports.update(process["ports"])
                if process["pid"]:
                    wanted = f"GENERATION={model.generation}".encode()
                    if wanted not in tree.environ(process["pid"]):
                        found.append(f"{name}.{number} is not of {wanted.decode()}")
        return found

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
        text = f"{self.head()}services:\n"
        for name, model in self.services.items():
            command = "'true'" if model.kind == "once" else f"{self.python} {APP} {model.kind}"
            ready = "" if model.kind == "once" else ", ready: {log: '^up$', deadline: 30s}"
            if bad == name:
                ready = ", ready: {log: '^up$', deadline: 0.7s}"
            policy = "on-failure" if model.kind == "once" else "always"
            more = {"http": ", port: auto", "held": f", listen: 'unix:{self.socket}'"}.get(name, "")
            bad_word = ", BAD: 1" if bad == name else ""
            text += (
                f"  {name}: {{command: {command}, processes: {model.configured}{ready}{more}, "
                f"depends_on: [{', '.join(model.needs)}], env: {{GENERATION: {model.generation}{bad_word}}}, "
                f"stop: {{timeout: 0.5s}}, "
                f"restart: {{policy: {policy}, max: 0.5s, give_up: {{times: 1000}}}}}}\n"
            )
        (self.one.folder / "amprun.yaml").write_text(text)

    @property
    def socket(self) -> Path:
        """Where `held` answers."""
        return self.one.folder / "held.sock"

    def load(self) -> Load:
        """Connections to `held`, one after the other, while it is entered."""
        return Load(self.socket)

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

    def pick_service(self) -> str:
        """Any service that runs on."""
        return self.chance.choice([name for name in self.services if name != "once"])

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

    def family(self, name: str) -> list[Model]:
        """A service and those that it needs."""
        return [self.services[each] for each in (name, *self.services[name].needs)]

    def want(self, name: str) -> None:
        """It was started, and what it needs with it."""
        for model in self.family(name):
            model.wanted = True

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


class Load:
    """A client that connects again and again; entering gives the list of what failed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> list[str]:
        self._thread.start()
        return self._failures

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.settimeout(30)
                    caller.connect(str(self._path))
                    said = b""
                    while block := caller.recv(100):
                        said += block
                    if said != b"well\n":
                        self._failures.append(f"answer {said!r}")
            except OSError as error:
                self._failures.append(str(error))
            with suppress(OSError):
                time.sleep(0.002)
