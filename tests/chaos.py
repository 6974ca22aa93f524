"""`make chaos`: the storm of chaos_support.py for a while; the seed repeats it."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from chaos_model import Broken  # noqa: E402 -- the path comes first
from chaos_support import Chaos  # noqa: E402
from running_support import Running  # noqa: E402
from support import Ampzero  # noqa: E402

LAST = 30
"""Actions that are printed when it fails."""


def main() -> int:
    """Storm; 1 when something broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="leave the folder of a failed run there")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)  # noqa: T201 -- a report
    folder = Path(tempfile.mkdtemp(prefix="az-chaos-"))
    for name in [name for name in os.environ if name.startswith("AMPZERO_")]:
        del os.environ[name]
    os.environ.update({"HOME": str(folder), "GIT_CONFIG_GLOBAL": os.devnull})
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(folder / name.lower())
    (folder / "demo").mkdir()
    one = Running(Ampzero(), folder / "demo", folder / "var")
    chaos = Chaos(one, options.seed, sys.executable)
    begun = time.monotonic()
    broken = True
    try:
        chaos.run(options.seconds)
        broken = False
    except Broken as error:
        print(f"BROKEN: {error}\nthe last of {len(chaos.journal)} actions:", flush=True)  # noqa: T201
        print("\n".join(chaos.journal[-LAST:]))  # noqa: T201
        print(f"again with: --seed {options.seed} --seconds {options.seconds:g}")  # noqa: T201
    finally:
        chaos.end()
        if broken and options.keep:
            print(f"kept: {folder}")  # noqa: T201
        else:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)
    if not broken:
        took = time.monotonic() - begun
        print(f"well: {len(chaos.journal)} actions, {chaos.kills} kills of the supervisor, {took:.0f} s")  # noqa: T201
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
