"""A program that keeps a port mapped, as a contact process does: prints each Mapping, ends on SIGTERM.

Arguments: the internal port, the host's id, the state file, and the seconds of a lease, a check and a retry.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from lib.nat import Keeper, Mapping
from lib.nat.keeper import Pace


def main(port: str, host: str, state: str, lease: str, check: str, retry: str) -> None:
    """Keep it until a signal comes."""

    def show(mapping: Mapping) -> None:
        print(json.dumps(asdict(mapping)), flush=True)  # noqa: T201 -- the tests read it

    pace = Pace(int(lease), float(check), float(retry), float(retry))
    keeper = Keeper(int(port), host, Path(state), changed=show, pace=pace)
    signal.signal(signal.SIGTERM, lambda *_: keeper.stop.set())
    keeper.run()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(*sys.argv[1:])
