"""A status as Prometheus text (prometheus.io, Exposition formats, version 0.0.4).

Every series has the label `name` (the instance's; `instance` is Prometheus's own), those of services and
processes theirs. What processes use counts everything below them. Owns no socket.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lib.control.stats import Table, own
from lib.logs.record import unix

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GOOD = ("ready", "running", "completed", "scheduled")
"""States in which nothing is wrong."""

Labels = dict[str, str]


class Metric(NamedTuple):
    """What one name means: its type (gauge, counter) and help."""

    type: str
    help: str


METRICS = {
    "ampzero_up": Metric("gauge", "1: the supervisor runs."),
    "ampzero_ready": Metric("gauge", "Whether everything that is wanted is ready."),
    "ampzero_state": Metric("gauge", "1 for the state that the instance is in."),
    "ampzero_supervisor_start_time_seconds": Metric("gauge", "When the supervisor started, since 1970."),
    "ampzero_supervisor_cpu_seconds_total": Metric("counter", "Processor time of the supervisor itself."),
    "ampzero_supervisor_resident_memory_bytes": Metric("gauge", "Resident memory of the supervisor itself."),
    "ampzero_supervisor_threads": Metric("gauge", "Threads of the supervisor itself."),
    "ampzero_supervisor_open_fds": Metric("gauge", "Open files of the supervisor itself."),
    "ampzero_service_wanted": Metric("gauge", "Whether the service was last commanded to run."),
    "ampzero_service_ok": Metric("gauge", "Whether all its processes are ready, completed or scheduled."),
    "ampzero_service_processes": Metric("gauge", "How many processes the service is to have."),
    "ampzero_service_dropped_log_lines_total": Metric(
        "counter", "Lines of output that could not be written."
    ),
    "ampzero_process_up": Metric("gauge", "Whether the process lives."),
    "ampzero_process_ready": Metric("gauge", "Whether the process is ready."),
    "ampzero_process_state": Metric("gauge", "1 for the state that the process is in."),
    "ampzero_process_restarts_total": Metric("counter", "How often the process was started again."),
    "ampzero_process_uptime_seconds": Metric("gauge", "How long the process has lived."),
    "ampzero_process_cpu_seconds_total": Metric("counter", "Processor time, of all below it too."),
    "ampzero_process_resident_memory_bytes": Metric("gauge", "Resident memory, of all below it too."),
    "ampzero_process_open_fds": Metric("gauge", "Open files, of all below it too."),
    "ampzero_process_threads": Metric("gauge", "Threads, of all below it too."),
    "ampzero_process_tree_processes": Metric("gauge", "How many processes it is, itself and all below it."),
}
"""All there are, in the order in which they are written."""


class Exposition:
    """Collects samples by metric, for the format wants those of one name together."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {name: [] for name in METRICS}

    def add(self, name: str, labels: Labels, value: float | None) -> None:
        """One sample; None leaves it out."""
        if value is not None:
            inside = ",".join(f'{label}="{escape(each)}"' for label, each in labels.items())
            self._samples[name].append(f"{name}{{{inside}}} {number(value)}\n")

    def text(self) -> str:
        """All of them, those without a sample left out."""
        parts: list[str] = []
        for name, samples in self._samples.items():
            if samples:
                metric = METRICS[name]
                parts.append(f"# HELP {name} {metric.help}\n# TYPE {name} {metric.type}\n")
                parts += samples
        return "".join(parts)


def escape(value: str) -> str:
    """A label's value between quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """Whole numbers without a fraction: longer ones would lose digits otherwise."""
    return str(int(value)) if value == int(value) else repr(float(value))


def expose(status: dict[str, Any], table: Table | None = None) -> str:
    """The text for a `status`; looks at /proc for what its processes use."""
    table = table or Table()
    found = Exposition()
    base = {"name": status["name"]}
    found.add("ampzero_up", base, 1)
    found.add("ampzero_ready", base, status["state"] == "ready")
    found.add("ampzero_state", {**base, "state": status["state"]}, 1)
    _add_supervisor(found, base, status["supervisor"])
    for service in status["services"]:
        labels = {**base, "service": service["name"]}
        found.add("ampzero_service_wanted", labels, service.get("wanted"))
        good = all(process["state"] in GOOD for process in service["processes"])
        found.add("ampzero_service_ok", labels, good)
        found.add("ampzero_service_processes", labels, len(service["processes"]))
        found.add("ampzero_service_dropped_log_lines_total", labels, service.get("dropped_lines"))
        for process in service["processes"]:
            _add_process(found, {**labels, "process": process["name"]}, process, table)
    return found.text()


def _add_supervisor(found: Exposition, base: Labels, supervisor: dict[str, Any]) -> None:
    found.add("ampzero_supervisor_start_time_seconds", base, unix(supervisor["started"]))
    if usage := own(supervisor["pid"]):
        found.add("ampzero_supervisor_cpu_seconds_total", base, usage.cpu)
        found.add("ampzero_supervisor_resident_memory_bytes", base, usage.memory)
        found.add("ampzero_supervisor_threads", base, usage.threads)
        found.add("ampzero_supervisor_open_fds", base, usage.fds)


def _add_process(found: Exposition, labels: Labels, process: dict[str, Any], table: Table) -> None:
    found.add("ampzero_process_up", labels, process["pid"] is not None)
    found.add("ampzero_process_ready", labels, process["state"] in ("ready", "running"))
    found.add("ampzero_process_state", {**labels, "state": process["state"]}, 1)
    found.add("ampzero_process_restarts_total", labels, process["restarts"])
    found.add("ampzero_process_uptime_seconds", labels, process["uptime"])
    usage = table.usage(process["pid"], fds=True) if process["pid"] else None
    if usage is not None:
        found.add("ampzero_process_cpu_seconds_total", labels, usage.cpu)
        found.add("ampzero_process_resident_memory_bytes", labels, usage.memory)
        found.add("ampzero_process_open_fds", labels, usage.fds)
        found.add("ampzero_process_threads", labels, usage.threads)
        found.add("ampzero_process_tree_processes", labels, usage.processes)
