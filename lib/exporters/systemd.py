"""systemd units: one a process, under a target; and one that has ampzero keep the whole instance.

Keys: systemd.service(5), systemd.exec(5), systemd.unit(5), of version 247 and later.
"""

from __future__ import annotations

import os
from pathlib import Path

from lib.exporters.base import Exported, Target, is_one_shot, skip_scheduled, variables
from lib.exporters.quoting import unit_path, unit_paths, unit_variables, unit_word
from lib.supervisor.spec import ProcessSpec, ServiceSpec

RESTART = {"always": "always", "on-failure": "on-failure", "never": "no"}
RLIMITS = {"NOFILE", "NPROC", "CORE", "FSIZE", "CPU", "AS", "DATA", "STACK", "MEMLOCK"}
CLEAN = ("HUP", "INT", "TERM", "PIPE")
"""Signals of which a death is no failure: systemd.service(5), SuccessExitStatus=."""
HOMES = ("/home", "/root", "/run/user")
"""What ProtectHome= hides."""
OPENS_ITS_OUTPUT = ("nginx",)
"""Kinds that open /dev/stdout anew: a pipe can be opened, the journal's socket cannot (ENXIO)."""
PIPED = '[ -p "$0" ] || mkfifo -m 600 "$0" || exit; cat <"$0" & exec "$@" >"$0" 2>&1'
"""A shell's words that run "$@" with the named pipe "$0" as output, which a `cat` hands on to the journal."""
PIPED_CHECK = 'said=$("$0" "$@" 2>&1) || { code=$?; printf "%s\\n" "$said"; exit $code; }'
"""A shell's words that run "$0" "$@" with a pipe as output, and hand that on when it fails."""
STOP_TIME = 150
"""Seconds that a whole instance may take to stop, all of its services one after the other."""


def export(target: Target) -> Exported:
    """A unit a process, `ampzero-NAME.target` over them, and `ampzero-NAME.service` in their stead."""
    exported = Exported()
    wanted = []
    for service in skip_scheduled(exported, target.plan):
        for process in service.processes:
            name = unit_name(target, process)
            exported.files[f"{name}.service"] = (_service(exported, target, service, process), 0o644)
            exported.files[f"{name}.env"] = (unit_variables(variables(target, process)), 0o600)
            wanted.append(f"{name}.service")
            if process.listen:
                exported.files[f"{name}.socket"] = (_socket(target, process, name), 0o644)
    base = base_name(target)
    exported.files[f"{base}-services.target"] = (_target(target, wanted), 0o644)
    exported.files[f"{base}.service"] = (instance_unit(target), 0o644)
    where = "~/.config/systemd/user" if target.user else "/etc/systemd/system"
    how = "systemctl --user" if target.user else "systemctl"
    exported.hint = (
        f"install: copy the units to {where}, {how} daemon-reload, and one of:\n"
        f"  {how} enable --now {base}.service            ampzero keeps the instance\n"
        f"  {how} enable --now {base}-services.target    systemd runs each process itself"
    )
    return exported


def base_name(target: Target) -> str:
    """`ampzero-NAME`."""
    return f"ampzero-{target.plan.name}"


def unit_name(target: Target, process: ProcessSpec) -> str:
    """A process's unit, without `.service`."""
    return f"{base_name(target)}-{process.service}-{process.number}"


def instance_unit(target: Target, arguments: tuple[str, ...] = ()) -> str:
    """The unit that has ampzero keep the whole instance; `arguments` go to `ampzero run`."""
    command = [*target.launcher, "run", "--no-daemon", *arguments, target.plan.directory]
    ours = target.instance.config_file
    if ours.name != "amprun.yaml":
        command = [*target.launcher, "run", "--no-daemon", *arguments, "-f", str(ours)]
    after = "" if target.user else "After=network-online.target\nWants=network-online.target\n"
    return f"""[Unit]
Description=Ampify Zero instance {target.plan.name}
{after}StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(unit_word, command))}
WorkingDirectory={unit_path(target.plan.directory)}
Environment={unit_word(f"PATH={target.path}")}
{_who(target)}# A commanded stop (ampzero stop) ends well, and stays ended.
Restart=on-failure
RestartSec=1
TimeoutStartSec=infinity
# A supervisor that died leaves its processes to the next one; a stop ends them all itself.
KillMode=process
TimeoutStopSec={STOP_TIME}
# Has the slice above hand on what the ceilings of single services need: their cgroups lie beside this one's.
Delegate=memory pids
# Who is killed for its memory does not end the others.
OOMPolicy=continue
LimitNOFILE=65536
NoNewPrivileges=yes

[Install]
WantedBy={"default.target" if target.user else "multi-user.target"}
"""


def _target(target: Target, wanted: list[str]) -> str:
    return f"""[Unit]
Description=The services of the Ampify Zero instance {target.plan.name}
Wants={" ".join(wanted)}
Conflicts={base_name(target)}.service

[Install]
WantedBy={"default.target" if target.user else "multi-user.target"}
"""


def _service(exported: Exported, target: Target, service: ServiceSpec, process: ProcessSpec) -> str:
    name = unit_name(target, process)
    others = [
        (each, f"{unit_name(target, other)}.service")
        for each in target.plan.services
        if each.name in service.depends_on and not each.schedule
        for other in each.processes
    ]
    # What is required takes those after it along when it is started again: so only what runs but once is.
    wanted = [unit for each, unit in others if not is_one_shot(each)]
    needed = [unit for each, unit in others if is_one_shot(each)]
    if process.listen:
        needed.append(f"{name}.socket")
    for other, condition in service.depends_on.items():
        if condition == "completed":
            exported.lost(service.name, f"depends_on.{other}", "systemd waits for a success, not for any end")
    restart, give_up = service.restart, service.restart.give_up_times
    if restart.max > restart.initial:
        exported.lost(service.name, "restart.max", "systemd waits the same time before each restart")
    if process.live is not None:
        exported.lost(service.name, "live", "systemd asks no probes")
    unit = [
        f"Description={service.name} {process.number} of the Ampify Zero instance {target.plan.name}",
        f"PartOf={base_name(target)}-services.target",
        *([f"Wants={' '.join(wanted)}"] if wanted else []),
        *([f"Requires={' '.join(needed)}"] if needed else []),
        *([f"After={' '.join([*wanted, *needed])}"] if wanted or needed else []),
        f"StartLimitIntervalSec={restart.give_up_within:g}",
        f"StartLimitBurst={give_up}",
    ]
    argv, checks = process.argv, process.check
    if service.kind in OPENS_ITS_OUTPUT:
        pipe = f"{target.plan.sockets}/{process.name}.out"
        argv = ("/bin/sh", "-c", PIPED, pipe, *argv)
        checks = tuple(("/bin/sh", "-c", PIPED_CHECK, *check) for check in checks)
    lines = [
        f"Type={_type(service, process)}",
        *(["RemainAfterExit=yes"] if is_one_shot(service) else []),
        *(["NotifyAccess=all"] if process.ready is not None and process.ready.kind == "notify" else []),
        *(f"ExecStartPre={_command(('/bin/rm', '-f', each))}" for each in process.stale),
        *(f"ExecStartPre={_command(check)}" for check in checks),
        f"ExecStart={_command(argv)}",
        *_readiness(exported, service, process),
        f"WorkingDirectory={unit_path(process.cwd)}",
        f"EnvironmentFile={unit_path(str(target.output / f'{name}.env'))}",
        f"Restart={RESTART[restart.policy]}",
        *([f"RestartSec={max(restart.initial, 0.1):g}"] if restart.policy != "never" else []),
        f"KillSignal=SIG{service.stop.signal}",
        # Stopped before it handles the signal it dies of it, which systemd takes for a failure.
        *([] if service.stop.signal in CLEAN else [f"SuccessExitStatus=SIG{service.stop.signal}"]),
        f"TimeoutStopSec={service.stop.timeout:g}",
        "KillMode=mixed",
        *_limits(process),
        *_sandbox(target, process),
    ]
    who = _who(target, process.limits.user, process.limits.group)
    return "[Unit]\n" + "\n".join(unit) + "\n\n[Service]\n" + who + "\n".join(lines) + "\n"


def _type(service: ServiceSpec, process: ProcessSpec) -> str:
    if is_one_shot(service):
        return "oneshot"
    return "notify" if process.ready is not None and process.ready.kind == "notify" else "exec"


def _command(argv: tuple[str, ...]) -> str:
    """A command line; a name without a folder is looked up by a shell, on the service's own PATH."""
    if argv[0].startswith("/"):
        return " ".join(map(unit_word, argv))
    return " ".join(map(unit_word, ("/bin/sh", "-c", 'exec "$0" "$@"', *argv)))


def _readiness(exported: Exported, service: ServiceSpec, process: ProcessSpec) -> list[str]:
    """What waits until a process is ready, so that those after it start then."""
    ready = process.ready
    if ready is None or ready.kind == "notify" or is_one_shot(service):
        return [f"TimeoutStartSec={ready.deadline:g}"] if ready is not None else []
    if ready.kind != "exec":
        exported.lost(
            service.name, "ready", f"systemd asks no {ready.kind} probe; it counts as ready when it runs"
        )
        return []
    loop = f'until "$0" "$@" >/dev/null 2>&1; do sleep {max(ready.interval, 0.1):g}; done'
    command = ("/bin/sh", "-c", loop, *ready.argv)
    return [f"ExecStartPost={' '.join(map(unit_word, command))}", f"TimeoutStartSec={ready.deadline:g}"]


def _who(target: Target, user: str = "", group: str = "") -> str:
    if target.user:
        return ""
    user = user or target.owner
    return (f"User={user}\n" if user else "") + (f"Group={group}\n" if group else "")


def _limits(process: ProcessSpec) -> list[str]:
    limits = process.limits
    lines = [f"Limit{name}={value}" for name, value in sorted(limits.rlimits.items()) if name in RLIMITS]
    if limits.memory:
        lines.append(f"MemoryMax={limits.memory}")
    if limits.nice:
        lines.append(f"Nice={limits.nice}")
    if limits.umask >= 0:
        lines.append(f"UMask={limits.umask:04o}")
    return lines


def _sandbox(target: Target, process: ProcessSpec) -> list[str]:
    """What the process may not do. A user's manager can only give up rights, it may not mount."""
    if target.user:
        return ["NoNewPrivileges=yes"]
    writable = list(dict.fromkeys((target.plan.var, target.plan.sockets, process.cwd)))
    named = [target.plan.directory, *writable, *target.launcher, *process.argv, *target.path.split(":")]
    # A venv's python is a link, and may lead into a home (pyenv, uv): that must be seen, too.
    inside = [*named, *(os.path.realpath(path) for path in named if path.startswith("/"))]
    home = any(path.startswith(f"{each}/") for path in inside for each in HOMES)
    shared = [path for path in inside if path.startswith(("/tmp/", "/var/tmp/"))]  # noqa: S108 -- only looked at
    return [
        "NoNewPrivileges=yes",
        # Sockets that the services share may lie in /tmp: then each cannot have one of its own.
        *(["PrivateTmp=yes"] if not shared else []),
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if home else 'yes'}",
        f"ReadWritePaths={unit_paths(writable)}",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectControlGroups=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
    ]


def _socket(target: Target, process: ProcessSpec, name: str) -> str:
    lines = []
    for address in process.listen:
        shown = address.removeprefix("unix:").replace("localhost:", "127.0.0.1:")
        lines.append(f"ListenStream={unit_path(shown)}")
    listen = "\n".join(lines)
    # A socket that outlives its target would start the service again at the next connection.
    unit = f"Description=Sockets of {name}\nPartOf={base_name(target)}-services.target"
    # systemd makes it: without an owner it is root's, and closed to whoever connects to it.
    owner = _who(target).replace("User=", "SocketUser=")
    return f"[Unit]\n{unit}\n\n[Socket]\n{listen}\n{owner}SocketMode=0600\n"


def unit_folder(user: bool) -> Path:
    """Where units are installed."""
    return Path.home() / ".config/systemd/user" if user else Path("/etc/systemd/system")
