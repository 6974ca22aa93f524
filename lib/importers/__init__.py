"""Files of other supervisors, read as services: the table of the formats, and telling them apart."""

from __future__ import annotations

import re
from pathlib import Path

from lib.errors import UsageError
from lib.importers import circus, compose, process_compose, procfile, supervisord
from lib.importers.base import Format, Imported, read_bytes

FORMATS = (
    Format("circus", circus.read, r"circus.*\.ini", r"^\[(watcher:|circus\])"),
    Format("supervisord", supervisord.read, r"supervisor.*\.(conf|ini)",
           r"^\[(program:|fcgi-program:|supervisord\])"),
    Format("process-compose", process_compose.read, r"process-compose.*\.ya?ml", r"^processes\s*:"),
    Format("compose", compose.read, r"(docker-)?compose.*\.ya?ml", r"^services\s*:"),
    Format("procfile", procfile.read, r"Procfile.*|.*\.procfile", r"\A\Z"),
)  # fmt: skip
"""Adding a format is one file and one line here. The first whose name or content fits is taken."""

NAMES = tuple(one.name for one in FORMATS)


def detect(path: Path, raw: bytes) -> Format:
    """The format of a file, by its name, then by its content; a file without a suffix is a Procfile.

    Raises: UsageError.
    """
    text = raw.decode(errors="replace").replace("\r\n", "\n")
    if path.name == "amprun.yaml":
        raise UsageError(f"{path} is an instance's own file", f"ampzero run {path.parent}")
    for one in FORMATS:
        if re.fullmatch(one.file_names, path.name, re.IGNORECASE):
            return one
    for one in FORMATS:
        if re.search(one.content, text, re.MULTILINE):
            return one
    if not path.suffix:
        return FORMATS[-1]
    raise UsageError(
        f"cannot tell the format of {path} by its name or content", f"--format {'|'.join(NAMES)}"
    )


def read(path: Path, format_name: str | None = None) -> Imported:
    """The services of a file, and what could not be carried over.

    Raises: MissingError, UsageError, ConfigError (`file:line`), StorageError.
    """
    if format_name not in (None, *NAMES):
        raise UsageError(f"no format {format_name!r}", f"there are: {', '.join(NAMES)}")
    raw = read_bytes(path)
    known = next((one for one in FORMATS if one.name == format_name), None)
    return (known or detect(path, raw)).read(path, raw)
