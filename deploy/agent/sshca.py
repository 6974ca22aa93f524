"""Has this host's sshd let in whom a user's key certifies (TrustedUserCAKeys), when a setup asks for it.

One file for every instance on this host, a line each, and one that names it to sshd. sshd itself says whether
it takes them; where it does not, everything is as it was before.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.agent import durable
from deploy.agent.command import Said, run
from deploy.agent.errors import AgentError

ETC = Path("/etc/ssh")
CA_FILE = "ampzero_user_ca"
DROP_IN = "sshd_config.d/10-ampzero.conf"
"""Read before what a distribution puts there: sshd takes the first value of an option."""
PID_FILES = (Path("/run/sshd.pid"), Path("/var/run/sshd.pid"))
UNITS = ("ssh", "sshd")
DEADLINE = 30.0
FAILED, USAGE = 1, 2
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{68}", re.ASCII)
_OWNER = re.compile(r"[!-~]{1,200}", re.ASCII)


def trust(
    key: str, owner: str, said: Said, *, etc: Path = ETC, reload: Callable[[], bool] | None = None
) -> list[str]:
    """Let in whom `key` certifies; it takes the place of the one that `owner` had. What was done, in words.

    Raises: AgentError; nothing is changed then.
    """
    if not _KEY.fullmatch(key) or not _OWNER.fullmatch(owner):
        raise AgentError("not a key that could certify logins", "", USAGE)
    file, drop_in = etc / CA_FILE, etc / DROP_IN
    before = (durable.read(file), durable.read(drop_in))
    others = [line for line in (before[0] or b"").decode(errors="replace").splitlines()
              if line.split()[2:] != [owner]]  # fmt: skip
    wanted = ("\n".join([*others, f"{key} {owner}", ""]).encode(), f"TrustedUserCAKeys {file}\n".encode())
    if before == wanted and _in_force(etc) == str(file):
        return []
    durable.make_folder(drop_in.parent, 0o755)
    try:
        durable.write(file, wanted[0], 0o644)
        durable.write(drop_in, wanted[1], 0o644)
        checked = run([_sshd(), "-t", "-f", str(etc / "sshd_config")], deadline=DEADLINE, said=said)
        if checked.code:
            raise AgentError(f"sshd refuses its configuration: {checked.last}", "", FAILED)
        if (found := _in_force(etc)) != str(file):
            raise AgentError(
                f"sshd does not take {drop_in}: its TrustedUserCAKeys is {found}",
                f"in {etc / 'sshd_config'}: Include {drop_in.parent}/*.conf"
                if found == "none" else f"add this line to {found} by hand: {key} {owner}", FAILED,
            )  # fmt: skip
    except BaseException:
        for path, content in zip((drop_in, file), reversed(before), strict=True):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                durable.write(path, content, 0o644)
        raise
    if not (reload or _reload)():
        return [f"sshd lets in whom {owner} certifies when it is started again"]
    return [f"sshd lets in whom {owner} certifies"]


def _in_force(etc: Path) -> str:
    """The file of TrustedUserCAKeys as sshd itself understands its configuration."""
    done: list[str] = []
    run([_sshd(), "-T", "-f", str(etc / "sshd_config")], deadline=DEADLINE, said=done.append)
    return next((line.split()[1] for line in done if line.startswith("trustedusercakeys ")), "none")


def _sshd() -> str:
    return next(
        (path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd") if Path(path).exists()),
        "sshd",
    )


def _reload() -> bool:
    """Have the sshd that runs read its configuration; connections that are open stay. Whether it could be."""
    for path in PID_FILES:
        with suppress(OSError, ValueError):
            pid = int(path.read_text())
            if b"sshd" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGHUP)
                return True
    for unit in UNITS:
        with suppress(AgentError):
            if run(["systemctl", "reload", unit], deadline=DEADLINE).code == 0:
                return True
    return False
