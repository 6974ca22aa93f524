"""The record store's folder, filled as its lib/README.md says, runs where there is no ampzero."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from support import unused_port, wait_for

from lib.errors import NotRunningError
from lib.signed import read_secret
from lib.zerodata.client import ZerodataClient

ROOT = Path(__file__).parents[2]
NEEDED = (
    "starlette",
    "uvicorn",
    "yaml",
    "anyio",
    "idna",
    "sniffio",
    "h11",
    "click",
    "typing_extensions.py",
    "_yaml",
)
"""What `pip install -r requirements.txt` brings, as it lies in site-packages."""
START = """
import sys
sys.path[:0] = {paths!r}
assert not [path for path in sys.path if {checkout!r} in path], sys.path
import uvicorn
uvicorn.main()
"""


def fill(folder: Path) -> None:
    """Do the copying that lib/README.md says, with its own words."""
    said = (ROOT / "instance_template/zerodata/lib/README.md").read_text()
    commands = [line.strip() for line in said.splitlines() if re.match(r" +(cp|openssl) ", line)]
    assert len(commands) == 3
    for line in commands:
        subprocess.run(
            ["sh", "-ec", line.replace("AMPZERO", str(ROOT / "lib"))],
            cwd=folder,
            check=True,
            capture_output=True,
        )


def test_the_filled_folder_serves(tmp_path: Path) -> None:
    app, packages = tmp_path / "zerodata", tmp_path / "packages"
    shutil.copytree(ROOT / "instance_template/zerodata", app)
    fill(tmp_path)
    packages.mkdir()
    installed = Path(sysconfig.get_paths()["purelib"])
    for name in NEEDED:
        if (installed / name).is_dir():
            shutil.copytree(installed / name, packages / name)
        elif (installed / name).exists():
            shutil.copy(installed / name, packages / name)
    entry = next(
        line for line in (app / "app.yaml").read_text().splitlines() if line.startswith("entrypoint:")
    )
    port = unused_port()
    words = entry.replace("$PORT", str(port)).replace("0.0.0.0", "127.0.0.1").split()[2:]  # noqa: S104 -- replaced
    start = START.format(paths=[str(app), str(packages)], checkout=str(ROOT))
    # The interpreter below the virtual environment: that of the environment has our checkout on its path.
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "ZERODATA_SECRET_FILE": "secret.key",
        "ZERODATA_DATA": str(tmp_path / "data"),
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [base, "-I", "-S", "-c", start, *words], cwd=app, env=environment, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        client = ZerodataClient(url, read_secret(app / "secret.key"))

        def answers() -> bool:
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                return client.get("task", "1") is None
            except NotRunningError:
                return False

        assert wait_for(answers), (tmp_path / "log").read_text()
        version = client.put("task", "1", {"a": 1})
        record = client.get("task", "1")
        assert record is not None and record.version == version and record.value == {"a": 1}
        assert [one.id for one in client.query("task", [["a", "=", 1]])] == ["1"]
    finally:
        server.terminate()
        server.wait(60)
    assert (app / "secret.key").stat().st_mode & 0o777 == 0o600


def test_the_copied_part_imports_nothing_else_of_ours(tmp_path: Path) -> None:
    """The store and what it needs import only each other, so that the copy is whole."""
    files = [ROOT / "lib/signed.py", *(ROOT / "lib/zerodata").glob("*.py")]
    for file in files:
        for name in re.findall(r"^\s*(?:from|import) +(lib[.\w]*)", file.read_text(), re.MULTILINE):
            assert name in ("lib.errors", "lib.signed") or name.startswith("lib.zerodata"), (file, name)
