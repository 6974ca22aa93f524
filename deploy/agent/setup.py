"""What a host needs once: programs, a user without rights of its own, the folders, and a keeper at boot.

It can be run again at any time, and does only what is not done yet.
"""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

from deploy.agent import audit, bootstart, durable, packages, sshca
from deploy.agent.command import Said, run
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

USER = "ampzero"
TAKEN, FAILED, USAGE = 7, 1, 2
USERADD_TIME = 30.0
LARGEST_SIGNERS = 64 * 1024


def set_up(layout: Layout, request: dict[str, Any], said: Said) -> list[str]:
    """Set this host up for the instance and environment of the request; what was done, in words.

    Raises: AgentError; a folder of somebody else's is left as it is.
    """
    wanted = {key: _text(request, key) for key in ("instance", "environment", "name")}
    signers = _text(request, "allowed_signers")
    user = str(request.get("user", USER)) or pwd.getpwuid(os.geteuid()).pw_name
    _check_rights(user)
    _check_root(layout, wanted)
    did: list[str] = []
    programs = (*packages.PROGRAMS, *map(str, request.get("programs", ())))
    did += packages.provide(programs, install=bool(request.get("install")), said=said)
    did += _make_user(user, layout, said)
    did += _make_folders(layout, user, wanted, signers)
    did += bootstart.install(layout, user, said)
    if request.get("ssh_ca"):
        owner = f"ampzero:{wanted['instance']}:{wanted['environment']}"
        did += sshca.trust(_text(request, "ssh_ca"), owner, said)
    return did


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not value or len(value) > LARGEST_SIGNERS:
        raise AgentError(f"setup needs {key}", "", USAGE)
    return value


def _check_rights(user: str) -> None:
    if os.geteuid() and pwd.getpwuid(os.geteuid()).pw_name != user:
        raise AgentError("setting up a host needs root", "log in as root, or as a user with sudo", FAILED)


def _check_root(layout: Layout, wanted: dict[str, str]) -> None:
    """Raises: AgentError where the root folder is another's, which is not touched."""
    root = layout.root
    if not root.exists() and not root.is_symlink():
        return
    if not root.is_dir():
        raise AgentError(f"{root} is there, and is no folder", "choose another root:", TAKEN)
    kept = durable.read_json(layout.host_file)
    if kept is None:
        # An agent that was copied here, or a setup that was cut short, has left at most this.
        others = sorted(each.name for each in root.iterdir() if each.name not in ("agent", ".ampzero"))
        if others and not (root / ".ampzero").exists():
            raise AgentError(
                f"{root} holds {', '.join(others[:3])}, and is not ours",
                "move it away, or choose another root: in deployment.yaml", TAKEN,
            )  # fmt: skip
        return
    if (kept.get("instance"), kept.get("environment")) != (wanted["instance"], wanted["environment"]):
        raise AgentError(
            f"{root} belongs to {kept.get('instance')} ({kept.get('environment')})",
            "choose another root: in deployment.yaml", TAKEN,
        )  # fmt: skip


def _make_user(user: str, layout: Layout, said: Said) -> list[str]:
    try:
        pwd.getpwnam(user)
        return []
    except KeyError:
        pass
    shell = next(
        (path for path in ("/usr/sbin/nologin", "/sbin/nologin") if Path(path).exists()), "/bin/false"
    )
    argv = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(layout.root),
            "--shell", shell, user]  # fmt: skip
    done = run(argv, deadline=USERADD_TIME, said=said)
    if done.code:
        raise AgentError(f"cannot make the user {user}: {done.last}", "", FAILED)
    return [f"made the user {user}"]


def _make_folders(layout: Layout, user: str, wanted: dict[str, str], signers: str) -> list[str]:
    owner = pwd.getpwnam(user)
    did = []
    if not layout.host_file.exists():
        did.append(f"made {layout.root}")
    durable.make_folder(layout.root, 0o755)
    if not layout.host_file.exists():
        durable.write(layout.root / ".ampzero", b"This folder belongs to ampzero deploy.\n", 0o644)
    for folder, mode in (
        (layout.dist, 0o755),
        (layout.state, 0o700),
        (layout.var, 0o755),
        (layout.agent, 0o755),
    ):
        durable.make_folder(folder, mode)
    if durable.read(layout.allowed_signers) != signers.encode():
        durable.write(layout.allowed_signers, signers.encode())
        did.append("noted who may sign releases")
    if durable.read_json(layout.host_file) != wanted:
        audit.append(layout, "set up", **wanted)
        durable.write(layout.host_file, json.dumps(wanted).encode() + b"\n", 0o644)
    bootstart.place_agent(layout)
    if os.geteuid() == 0:
        _give(layout, owner)
    return did


def _give(layout: Layout, owner: pwd.struct_passwd) -> None:
    """Everything that setup may have made becomes the owner's; links are not followed."""
    paths = [layout.root, layout.root / ".ampzero", layout.dist, layout.var, layout.agent, layout.state]
    paths += [*layout.state.iterdir(), *layout.agent.iterdir()]
    with durable.storage(layout.root):
        for path in paths:
            if path.exists() or path.is_symlink():
                os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
