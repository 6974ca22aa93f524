"""The log store's folder, filled as its lib/README.md says, is an application where there is no ampzero."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = ("starlette", "uvicorn", "anyio", "idna", "sniffio", "h11", "click", "typing_extensions.py")
"""What `pip install -r requirements.txt` brings, as it lies in site-packages."""
USE = """
import sys
sys.path[:0] = {paths!r}
assert not [path for path in sys.path if {checkout!r} in path], sys.path
import logstore, uvicorn
import lib.logstore.app
assert lib.logstore.app.__file__.startswith({folder!r}), lib.logstore.app.__file__
print([route.path for route in logstore.app.routes])
"""


def test_it_loads_with_what_the_readme_copies(tmp_path: Path) -> None:
    folder = tmp_path / "logstore"
    shutil.copytree(ROOT / "instance_template/logstore", folder)
    said = (folder / "lib/README.md").read_text()
    commands = [line.strip() for line in said.splitlines() if re.match(r" +cp ", line)]
    assert len(commands) == 2
    for line in commands:
        subprocess.run(["sh", "-ec", line.replace("AMPZERO", str(ROOT / "lib"))], cwd=tmp_path, check=True)
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in NEEDED:
        found = Path(sysconfig.get_path("purelib")) / name
        if found.exists():
            (packages / name).symlink_to(found)
    secret = tmp_path / "secret.key"
    secret.write_text(secrets.token_hex(32))
    script = USE.format(paths=[str(folder), str(packages)], checkout=str(ROOT / "lib"), folder=str(folder))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        env={
            "PATH": os.environ["PATH"],
            "LOGSTORE_DATA": str(tmp_path / "data"),
            "LOGSTORE_SECRET_FILE": str(secret),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "/v1/records" in done.stdout
