"""A supervisord.conf whose programs are the processes of an instance.

Each program is a small script: it sets the variables, which may be secrets and of any characters, and becomes
the command. Keys: http://supervisord.org/configuration.html
"""

from __future__ import annotations

import shlex

from lib.exporters.base import Exported, Target, is_one_shot, skip_scheduled, variables
from lib.exporters.quoting import ini, shell_exports
from lib.supervisor.spec import ProcessSpec, ServiceSpec

RESTART = {"always": "true", "on-failure": "unexpected", "never": "false"}


def export(target: Target) -> Exported:
    """`supervisord.conf`, and a script a process."""
    exported = Exported()
    out = str(target.output)
    sections = [server(out, f"{target.plan.sockets}/keeper.sock")]
    for priority, service in enumerate(skip_scheduled(exported, target.plan), 1):
        _note(exported, service)
        for process in service.processes:
            name = f"{process.service}-{process.number}"
            exported.files[f"{name}.sh"] = (_script(target, process), 0o700)
            sections.append(_program(target, service, process, name, priority))
    exported.files["supervisord.conf"] = ("\n".join(sections), 0o600)
    exported.hint = f"start: supervisord -c {out}/supervisord.conf"
    return exported


def server(folder: str, socket: str) -> str:
    """The sections of a supervisord of its own, whose files are in `folder`.

    A socket's path must be short, so `socket` is apart.
    """
    here = ini(folder)
    return f"""[unix_http_server]
file={ini(socket)}
chmod=0600

[supervisord]
logfile={here}/supervisord.log
pidfile={here}/supervisord.pid
childlogdir={here}
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{ini(socket)}
"""


def _note(exported: Exported, service: ServiceSpec) -> None:
    if service.depends_on:
        exported.lost(
            service.name, "depends_on", "programs start in this order, and do not wait for each other"
        )
    for process in service.processes[:1]:
        if process.ready is not None:
            exported.lost(service.name, "ready", "a program counts as up when it runs for a second")
        if process.live is not None:
            exported.lost(service.name, "live", "supervisord asks no probes")
        if process.listen:
            exported.lost(service.name, "listen", "the program has to listen itself")
        if process.limits.memory or process.limits.rlimits or process.limits.nice:
            exported.lost(service.name, "limits", "supervisord sets none but user and umask")


def _script(target: Target, process: ProcessSpec) -> str:
    lines = [*(("rm", "-f", each) for each in process.stale), *process.check]
    before = "".join(f"{shlex.join(each)} || exit 1\n" for each in lines)
    exports = shell_exports(variables(target, process))
    return f"#!/bin/sh\n{exports}{before}exec {shlex.join(process.argv)}\n"


def _program(target: Target, service: ServiceSpec, process: ProcessSpec, name: str, priority: int) -> str:
    out = ini(str(target.output))
    lines = [
        f"[program:{name}]",
        f'command=/bin/sh "{out}/{name}.sh"',
        f"directory={ini(process.cwd)}",
        f"priority={priority}",
        f"autorestart={RESTART[service.restart.policy]}",
        f"startsecs={0 if is_one_shot(service) else 1}",
        f"startretries={service.restart.give_up_times}",
        f"stopsignal={service.stop.signal}",
        f"stopwaitsecs={max(1, round(service.stop.timeout))}",
        "killasgroup=true",
        f"stdout_logfile={out}/{name}.log",
        f"stdout_logfile_maxbytes={target.plan.log_segment}",
        f"stdout_logfile_backups={target.plan.log_keep}",
        "redirect_stderr=true",
    ]
    if process.limits.user:
        lines.append(f"user={process.limits.user}")
    if process.limits.umask >= 0:
        lines.append(f"umask={process.limits.umask:03o}")
    return "\n".join(lines) + "\n"
