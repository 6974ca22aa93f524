"""How an agent comes to a host that has only sshd, a shell and Python: one command, one answer, the code.

Owns the archive of the agent's code and the stub, a program small enough for a command line. The stub says
whether the host has this very archive, takes it if not, checks its SHA-256, becomes the owner of the root
folder where it was started as root (or got there by sudo), and runs the archive from memory: nobody can
exchange it in between.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import marshal
import threading
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy import agent

MARK = b"\nampzero-agent "
"""Begins the stub's one line; what a login shell prints before it is skipped."""
MAIN = "from deploy.agent.__main__ import main\nimport sys\nsys.exit(main(sys.argv[1:]))\n"
UNCHECKED = (1).to_bytes(4, "little")
"""The flags of a .pyc that is believed to be its source's: the archive's hash vouches for both."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip archive can say."""

STUB = r"""
import hashlib, json, os, sys
def say(*words):
    os.write(1, ("\nampzero-agent " + json.dumps(words) + "\n").encode())
if sys.version_info < (3, 11):
    say("old", "%d.%d.%d" % sys.version_info[:3])
    sys.exit(1)
root, digest, size, keep = json.loads(sys.argv[1])
try:
    owner = os.stat(root).st_uid
except OSError:
    owner = os.geteuid()
if len(sys.argv) > 2:
    os.environ["SSH_CONNECTION"] = sys.argv[2]
elif os.geteuid() and (keep or owner != os.geteuid()):
    # Without a password or not at all; what it says itself is told. It passes no variables on.
    words = [sys.executable] + sys.orig_argv[1:] + [os.environ.get("SSH_CONNECTION", "")]
    try:
        os.execvp("sudo", ["sudo", "-n", "--"] + words)
    except OSError:
        sys.exit("sudo: it is not there")
if os.geteuid() == 0 and owner and not keep:
    import pwd
    user = pwd.getpwuid(owner)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(owner)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
os.umask(0o022)
os.chdir("/")
path = os.path.join(root, "agent", "agent-" + digest[:16] + ".pyz")
def is_it(data):
    return hashlib.sha256(data).hexdigest() == digest
try:
    with open(path, "rb") as file:
        data = file.read(size + 1)
except OSError:
    data = b""
if is_it(data):
    say("have")
else:
    say("need")
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            sys.exit(1)
        data += part
    if not is_it(data):
        sys.exit("the agent's code arrived damaged")
    if os.path.isdir(root) and owner == os.geteuid():
        aside = "%s.%d" % (path, os.getpid())
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(aside, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(aside, path)
        except OSError:
            try:
                os.unlink(aside)
            except OSError:
                pass
code = os.memfd_create("ampzero-agent", 0)
with open(code, "wb", closefd=False) as file:
    file.write(data)
here = [sys.executable, "-I", "-B", "/proc/self/fd/%d" % code]
os.execv(here[0], here + ["serve", root])
"""
"""Runs on whatever `python3` is: it must be parsable by very old ones, which it then names."""


@dataclass(frozen=True)
class Bundle:
    """The agent's code as one zip archive; `sha256` is its name."""

    data: bytes
    sha256: str


MAKING = threading.Lock()


def bundle() -> Bundle:
    """The agent of this Ampify: the same bytes for the same code (and zlib), whenever it is made."""
    with MAKING:  # a fleet asks for it all at once
        return _made()


@cache
def _made() -> Bundle:
    files = {"__main__.py": MAIN.encode(), "deploy/__init__.py": b""}
    folder = Path(agent.__file__).parent
    for path in folder.rglob("*.py"):
        files[f"deploy/agent/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    files |= {f"{name}c": _compiled(name, source) for name, source in files.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED, 9)
    return Bundle(out.getvalue(), hashlib.sha256(out.getvalue()).hexdigest())


def _compiled(name: str, source: bytes) -> bytes:
    """The .pyc of a source (PEP 552, unchecked), which halves the start where the host's Python is ours.

    Another Python sees that it is not its own and takes the source. Marshal's second format: later ones
    depend on what else the compiling process has loaded.
    """
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return (
        importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source) + marshal.dumps(code, 2)
    )


def command(root: str, code: Bundle, *, as_root: bool) -> list[str]:
    """The argv that starts the stub: no character of it means anything to any shell once it is quoted."""
    order = json.dumps([root, code.sha256, len(code.data), as_root])
    return ["python3", "-I", "-c", f'import base64;exec(base64.b64decode("{_text(STUB)}"))', order]


def _text(program: str) -> str:
    return base64.b64encode(program.encode()).decode()
