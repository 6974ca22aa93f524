"""circus's commands, each done with one of ours: what circusctl and circusd-stats ask for.

The table at the end is all there is; no name from outside is ever looked up elsewhere. What the commands
mean and answer is circus 0.19's (circus.readthedocs.io, Commands). Owns no socket.
"""

from __future__ import annotations

import fnmatch
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from lib.control.circus_stats import CircusStats
from lib.control.circus_values import Properties, integer, options, pids, signal_number, text, watcher_state
from lib.control.stats import Meter, Table
from lib.errors import UsageError
from lib.supervisor import tree
from lib.supervisor.spec import Plan

PROCESSES_MAX = 1000
"""As `processes` in amprun.yaml."""

Answer = dict[str, Any]
Handle = Callable[[str, dict[str, Any]], Awaitable[Any]]
Result = Answer | Awaitable[Answer]
"""An answer, or work that leads to one: circusctl waits for it only with --waiting."""


class CircusCommands:
    """The commands against one running supervisor."""

    def __init__(
        self, plan: Callable[[], Plan], status: Callable[[], dict[str, Any]], handle: Handle, meter: Meter
    ) -> None:
        self._plan = plan
        self._status = status
        self._handle = handle
        self._meter = meter

    def run(self, name: str, properties: Properties) -> Result | None:
        """Begin a command; None when there is none of that name.

        Raises: UsageError for properties that make no sense; the awaitable any AmpzeroError.
        """
        method = COMMANDS.get(name)
        return None if method is None else method(self, properties)

    def list_watchers(self, properties: Properties) -> Answer:
        """The watchers, or one's pids."""
        if "name" not in properties:
            return {"watchers": sorted(self._services())}
        return {"pids": list(pids(self._service(properties)))}

    def numwatchers(self, properties: Properties) -> Answer:
        """How many watchers there are."""
        return {"numwatchers": len(self._services())}

    def numprocesses(self, properties: Properties) -> Answer:
        """How many processes live, in all or in one watcher."""
        if "name" in properties:
            service = self._service(properties)
            return {"numprocesses": len(pids(service)), "watcher_name": service["name"]}
        return {"numprocesses": sum(len(pids(service)) for service in self._services().values())}

    def status(self, properties: Properties) -> Answer:
        """Whether watchers are active."""
        if "name" in properties:
            # Instead of "ok" there: so it is in circus's protocol.
            return {"status": watcher_state(self._service(properties)["state"])}
        return {
            "statuses": {name: watcher_state(service["state"]) for name, service in self._services().items()}
        }

    def stats(self, properties: Properties) -> Answer:
        """What processes use."""
        look = CircusStats(self._meter)
        if "name" not in properties:
            return {"infos": {name: self._infos(service, look) for name, service in self._services().items()}}
        service = self._service(properties)
        infos = self._infos(service, look)
        if "process" not in properties:
            return {"name": service["name"], "info": infos}
        pid = str(integer(properties, "process"))
        if pid not in infos:
            raise UsageError(f"process {pid} not found in '{service['name']}'")
        return {"process": int(pid), "info": infos[pid]}

    def dstats(self, properties: Properties) -> Answer:
        """What the supervisor itself uses."""
        pid = self._status()["supervisor"]["pid"]
        return {"info": CircusStats(self._meter).info(pid, children=False) or {}}

    def options(self, properties: Properties) -> Answer:
        """How a watcher is configured, as far as circus has words for it."""
        return {"options": self._options(self._service(properties))}

    def get_options(self, properties: Properties) -> Answer:
        """Some of `options`."""
        options = self._options(self._service(properties))
        keys = properties.get("keys", [])
        if not isinstance(keys, list):
            raise UsageError("'keys' must be a list")
        for key in keys:
            if not isinstance(key, str) or key not in options:
                raise UsageError(f"{key!r} option not found")
        return {"options": {key: options[key] for key in keys}}

    def set_options(self, properties: Properties) -> Result:
        """Change the number of processes; all else stands in amprun.yaml."""
        service = self._service(properties)
        options = properties.get("options", {})
        if not isinstance(options, dict) or set(options) != {"numprocesses"}:
            raise UsageError("only numprocesses can be set", "change amprun.yaml, then reloadconfig")
        return self._scale(service, integer(options, "numprocesses"))

    def globaloptions(self, properties: Properties) -> Answer:
        """Where the sockets are."""
        sockets = f"ipc://{self._plan().sockets}"
        found = {
            "endpoint": f"{sockets}/circus.sock", "stats_endpoint": f"{sockets}/circus-stats.sock",
            "pubsub_endpoint": f"{sockets}/circus-events.sock", "check_delay": 0.0,
            "multicast_endpoint": None,
        }  # fmt: skip
        wanted = properties.get("option")
        if not wanted:
            return {"options": found}
        if not isinstance(wanted, str) or wanted not in found:
            raise UsageError(f"{wanted!r} not an existing option")
        return {"options": {wanted: found[wanted]}}

    def listsockets(self, properties: Properties) -> Answer:
        """None: what ours listen on is no descriptor of circusd's that others could take over."""
        return {"sockets": []}

    def incr(self, properties: Properties) -> Result:
        """More processes."""
        return self._grow(properties, 1)

    def decr(self, properties: Properties) -> Result:
        """Fewer processes."""
        return self._grow(properties, -1)

    def start(self, properties: Properties) -> Result:
        """Start watchers."""
        return self._command("start", self._matching(properties))

    def stop(self, properties: Properties) -> Result:
        """Stop watchers."""
        return self._command("stop", self._matching(properties))

    def restart(self, properties: Properties) -> Result:
        """Stop and start watchers."""
        return self._command("restart", self._matching(properties))

    def reload(self, properties: Properties) -> Result:
        """Replace the processes one after the other, as `ampzero restart --rolling`."""
        names = [self._service(properties)["name"]] if "name" in properties else list(self._services())
        return self._command("restart", names, rolling=not properties.get("terminate", False))

    def reloadconfig(self, properties: Properties) -> Result:
        """Take over what changed in the configuration."""
        return self._command("reload")

    def quit(self, properties: Properties) -> Result:
        """End everything, the supervisor too."""
        return self._command("shutdown")

    def signal(self, properties: Properties) -> Result:
        """A signal for a watcher's processes, one of them, or those below them."""
        service = self._service(properties)
        number = signal_number(properties.get("signum"))
        chosen = self._chosen(service, properties)
        name = signal.Signals(number).name.removeprefix("SIG")
        if properties.get("children") or properties.get("recursive") or "childpid" in properties:
            return self._signal_below(chosen, name, properties)
        return self._command("signal", list(chosen.values()), signal=name)

    def kill(self, properties: Properties) -> Result:
        """End processes, which start again; with `signum` only send that."""
        if properties.get("signum") is not None:
            return self.signal(properties)
        service = self._service(properties)
        one = "pid" in properties
        chosen = self._chosen(service, properties)
        return self._command("restart", list(chosen.values()) if one else [service["name"]])

    def unsupported(self, properties: Properties) -> Answer:
        """What cannot be done from here.

        Raises: UsageError, always.
        """
        raise UsageError("watchers are added and removed in amprun.yaml", "then reloadconfig")

    async def _signal_below(self, chosen: dict[int, str], name: str, properties: Properties) -> Answer:
        if properties.get("recursive"):
            await self._handle("signal", {"services": list(chosen.values()), "signal": name})
        table = Table()
        below = {each for pid in chosen for each in table.members(pid)} - set(chosen)
        if "childpid" in properties:
            below &= {integer(properties, "childpid")}
        tree.send(below, signal.Signals[f"SIG{name}"])
        return {}

    async def _command(self, command: str, names: list[str] | None = None, **more: Any) -> Answer:
        if names is not None:
            more["services"] = names
        result = await self._handle(command, more)
        if isinstance(result, dict) and result.get("survivors"):
            raise UsageError(f"left: {', '.join(result['survivors'])}")
        return {"info": result} if result else {}

    def _grow(self, properties: Properties, sign: int) -> Result:
        service = self._service(properties)
        step = integer(properties, "nb") if "nb" in properties else 1
        return self._scale(service, max(0, len(service["processes"]) + sign * step))

    async def _scale(self, service: dict[str, Any], count: int) -> Answer:
        if not 0 <= count <= PROCESSES_MAX:
            raise UsageError(f"the number of processes must be from 0 to {PROCESSES_MAX}")
        await self._handle("scale", {"service": service["name"], "processes": count})
        return {"numprocesses": count}

    def _chosen(self, service: dict[str, Any], properties: Properties) -> dict[int, str]:
        """The living processes that are meant: pid and name."""
        living = pids(service)
        if "pid" not in properties:
            return living
        pid = integer(properties, "pid")
        if pid not in living:
            raise UsageError(f"process {pid} not found in '{service['name']}'")
        return {pid: living[pid]}

    def _services(self) -> dict[str, dict[str, Any]]:
        return {service["name"]: service for service in self._status()["services"]}

    def _service(self, properties: Properties) -> dict[str, Any]:
        name = text(properties, "name")
        found = self._services().get(name.lower())
        if found is None:
            raise UsageError(f"program {name[:60]} not found")
        return found

    def _matching(self, properties: Properties) -> list[str]:
        names = list(self._services())
        if "name" not in properties:
            return names
        pattern = text(properties, "name").lower()
        match = properties.get("match", "glob")
        if match == "simple":
            found = [name for name in names if name == pattern]
        elif match == "glob" and pattern.count("*") < 10:
            found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        elif match == "regex":
            # Python's re has no bound on its time, and one bad pattern would stop everything.
            raise UsageError("names are not matched by regular expressions here", "use a glob: web*")
        else:
            raise UsageError(f"unknown match method {str(match)[:20]}")
        if not found:
            raise UsageError(f"program {pattern[:60]} not found")
        return found

    def _infos(self, service: dict[str, Any], look: CircusStats) -> dict[str, Any]:
        found = {
            str(process["pid"]): look.info(process["pid"], process["number"])
            for process in service["processes"] if process["pid"]
        }  # fmt: skip
        return {pid: info for pid, info in found.items() if info}

    def _options(self, service: dict[str, Any]) -> dict[str, Any]:
        return options(self._plan(), service["name"], len(service["processes"]))


COMMANDS: dict[str, Callable[[CircusCommands, Properties], Result]] = {
    "add": CircusCommands.unsupported,
    "decr": CircusCommands.decr,
    "dstats": CircusCommands.dstats,
    "get": CircusCommands.get_options,
    "globaloptions": CircusCommands.globaloptions,
    "incr": CircusCommands.incr,
    "kill": CircusCommands.kill,
    "list": CircusCommands.list_watchers,
    "listsockets": CircusCommands.listsockets,
    "numprocesses": CircusCommands.numprocesses,
    "numwatchers": CircusCommands.numwatchers,
    "options": CircusCommands.options,
    "quit": CircusCommands.quit,
    "reload": CircusCommands.reload,
    "reloadconfig": CircusCommands.reloadconfig,
    "restart": CircusCommands.restart,
    "rm": CircusCommands.unsupported,
    "set": CircusCommands.set_options,
    "signal": CircusCommands.signal,
    "start": CircusCommands.start,
    "stats": CircusCommands.stats,
    "status": CircusCommands.status,
    "stop": CircusCommands.stop,
}
