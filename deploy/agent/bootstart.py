"""Having the keeper start with the machine, and now: by systemd, cron or /etc/rc.local, whichever is here."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from deploy.agent import durable
from deploy.agent.command import Said, run
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

UNITS = Path("/etc/systemd/system")
RC_LOCAL = Path("/etc/rc.local")
TIME = 60.0
BEGIN, END = "# ampzero keeper of {root}: begin", "# ampzero keeper of {root}: end"


def argv(layout: Layout) -> list[str]:
    """The keeper's command line."""
    return [sys.executable, "-I", str(layout.agent / "current"), "keep", "--root", str(layout.root)]


def place_agent(layout: Layout) -> bool:
    """Have `R/agent/current` be the agent that runs now; False where it runs from no archive.

    Raises: AgentError.
    """
    archive = Path(sys.argv[0])
    if not archive.is_file() or not zipfile.is_zipfile(archive):
        return False
    with durable.storage(archive):
        data = archive.read_bytes()
    name = f"agent-{hashlib.sha256(data).hexdigest()[:16]}.pyz"
    if durable.read(layout.agent / name) != data:
        durable.write(layout.agent / name, data, 0o644)
    durable.set_link(layout.agent / "current", name)
    return True


def install(layout: Layout, user: str, said: Said) -> list[str]:
    """Install the keeper's start, and start it where it does not run; what was done.

    Raises: AgentError.
    """
    if not (layout.agent / "current").exists():
        return ["the keeper is not installed: this agent runs from its source"]
    if os.geteuid() == 0 and Path("/run/systemd/system").is_dir() and shutil.which("systemctl"):
        return systemd(layout, user, UNITS, said)
    if shutil.which("crontab"):
        did = cron(layout, user, said)
    elif os.geteuid() == 0:
        did = rc_local(layout, RC_LOCAL)
    else:
        did = ["nothing starts the keeper at boot: there is no crontab, and this is not root"]
    return did + start(layout)


def start(layout: Layout, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Start the keeper in a session of its own, where none runs.

    Raises: AgentError.
    """
    if durable.is_held(layout.keeper_lock):
        return []
    with durable.storage(layout.agent):
        subprocess.Popen(
            argv(layout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            env=dict(environment),
        ).returncode = 0  # it outlives us
    return ["started the keeper"]


def unit(layout: Layout, user: str) -> str:
    """The systemd unit. KillMode=process: the end of the keeper is not the end of the instance."""
    return f"""[Unit]
Description=Keeper of the ampzero instance in {layout.root}
After=network.target

[Service]
User={user}
ExecStart={" ".join(_unit_word(word) for word in argv(layout))}
Restart=always
RestartSec=5
KillMode=process
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""


def _unit_word(word: str) -> str:
    """systemd.service(5), command lines: quotes, and doubled percent and dollar signs."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if word != word.strip() or any(each in word for each in " \t;'\"") else word


def systemd(layout: Layout, user: str, folder: Path, said: Said) -> list[str]:
    """Write the unit and enable it. Raises: AgentError."""
    name = f"ampzero-{'-'.join(layout.root.parts[1:])}.service"
    text = unit(layout, user).encode()
    did = []
    if durable.read(folder / name) != text:
        durable.write(folder / name, text, 0o644)
        _run(["systemctl", "daemon-reload"], said)
        did.append(f"wrote {folder / name}")
    _run(["systemctl", "enable", "--now", name], said)
    return did


def cron(layout: Layout, user: str, said: Said) -> list[str]:
    """Add an @reboot line to the user's crontab. Raises: AgentError."""
    mark = f"# ampzero keeper of {layout.root}"
    whose = ["-u", user] if os.geteuid() == 0 else []
    before = subprocess.run(
        ["crontab", *whose, "-l"], capture_output=True, text=True, timeout=TIME, check=False
    )
    lines = before.stdout.splitlines() if before.returncode == 0 else []
    # crontab(5): a % ends the command, unless it is escaped.
    line = f"@reboot {shlex.join(argv(layout))} >/dev/null 2>&1 {mark}".replace("%", "\\%")
    if line in lines:
        return []
    text = "".join(f"{each}\n" for each in [*(each for each in lines if not each.endswith(mark)), line])
    done = subprocess.run(
        ["crontab", *whose, "-"], input=text, capture_output=True, text=True, timeout=TIME, check=False
    )
    if done.returncode:
        raise AgentError(f"cannot write the crontab of {user}: {done.stderr.strip()}")
    return [f"added an @reboot line to the crontab of {user}"]


def rc_local(layout: Layout, path: Path) -> list[str]:
    """Add our lines to rc.local, before its `exit 0`; the keeper gives up root by itself.

    Raises: AgentError.
    """
    begin, end = BEGIN.format(root=layout.root), END.format(root=layout.root)
    ours = [begin, f"{shlex.join(argv(layout))} </dev/null >/dev/null 2>&1 &", end]
    before = (durable.read(path) or b"#!/bin/sh\n").decode(errors="surrogateescape").splitlines()
    lines = before[:]
    if begin in lines and end in lines[lines.index(begin) :]:
        first = lines.index(begin)
        del lines[first : lines.index(end, first) + 1]
    at = next((number for number, line in enumerate(lines) if line.strip() == "exit 0"), len(lines))
    lines[at:at] = ours
    is_ready = path.is_file() and os.access(path, os.X_OK)
    if lines == before and is_ready:
        return []
    durable.write(path, "\n".join([*lines, ""]).encode(errors="surrogateescape"), 0o755)
    with durable.storage(path):
        path.chmod(0o755)
    return [f"added the keeper to {path}"]


def _run(words: list[str], said: Said) -> None:
    done = run(words, deadline=TIME, said=said)
    if done.code:
        raise AgentError(f"`{shlex.join(words)}` failed: {done.last}")
