"""The libraries that a release on a host brings with it, in `site/` beside our code."""

from __future__ import annotations

import sys
from pathlib import Path

SITE = "site"
_MACHINES_OWN = ("site-packages", "dist-packages")


def use_bundled(tree: Path) -> None:
    """Where `tree` brings libraries, take those, and none of the machine's own."""
    libraries = tree / SITE
    if libraries.is_dir():
        sys.path[:] = [path for path in sys.path if Path(path).name not in _MACHINES_OWN]
        sys.path.insert(1, str(libraries))
