"""`make chaos-deploy`: deploys to a lab while whatever can die does; the seed repeats it."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from deploy_trials import (  # noqa: E402 -- the path comes first
    ORDER,
    POLICY,
    Attempt,
    Trial,
    attempt,
    elsewhere,
    end_agent,
    lose_coordinator,
    lose_host,
    reaches,
)
from fleet_support import copy_tool, make_site, shared_cache  # noqa: E402
from support import wait_for  # noqa: E402

from deploy.lab import Host, Lab  # noqa: E402

LINES = ("connecting", "building", "making", "staging", "preparing", "switching")


def main() -> int:
    """Deploy again and again; 1 when something broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)  # noqa: T201 -- a report
    dice = random.Random(options.seed)
    rounds = 0
    with tempfile.TemporaryDirectory(prefix="az-deploys-") as name:
        folder = Path(name)
        with Lab.make(f"chaos-{options.seed}", 3) as lab:
            site = make_site(folder / "home", copy_tool(folder / "tool"), lab, shared_cache())
            site.configure(policy=POLICY)
            done = site.ampzero("deploy", ".", "--setup")
            assert done.code == 0, done.err
            site.deploy()
            trial = Trial(site)
            until = time.monotonic() + options.seconds
            while time.monotonic() < until:
                began = time.monotonic()
                text, event = choose(dice, lab.hosts[dice.randrange(3)])
                print(f"{rounds}: {text}", end=" ", flush=True)  # noqa: T201
                event(trial)
                print(f"-> {trial.version}, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
                rounds += 1
    print(f"well: {rounds} deploys")  # noqa: T201
    return 0


def choose(dice: random.Random, host: Host) -> tuple[str, Callable[[Trial], object]]:
    """An event and its name."""
    what = dice.choice(("coordinator", "coordinator", "host", "host", "both", "two"))
    when, line = dice.choice(ORDER), dice.choice(LINES)
    how = dice.choice((end_agent, Host.kill, Host.cut))
    if what == "two":
        return "two coordinators", two_coordinators
    if what == "host":
        return f"{how.__name__} {host.name} at {when}", lambda trial: lose_host(trial, host, when, how)
    if what == "coordinator" and dice.random() < 0.5:
        return f"coordinator at {line}", lambda trial: lose_coordinator(
            trial, lambda going, _: going.wait_line(line)
        )

    def at_state(going: Attempt, sequence: int) -> None:
        assert wait_for(lambda: reaches(host, sequence, when) or going.process.poll() is not None, 120, 0.001)
        if what == "both":
            how(host)

    def event(trial: Trial) -> None:
        lose_both(trial, at_state) if what == "both" else lose_coordinator(trial, at_state)

    name = f"coordinator and {how.__name__} {host.name}" if what == "both" else f"coordinator ({host.name})"
    return f"{name} at {when}", event


def lose_both(trial: Trial, moment: Callable[[Attempt, int], None]) -> None:
    """Coordinator and host at once; the host is back before the resume."""

    def both(going: Attempt, sequence: int) -> None:
        moment(going, sequence)
        going.kill()
        trial.mend()

    lose_coordinator(trial, both)


def two_coordinators(trial: Trial) -> None:
    """Two deploys of two versions begin together; what comes of them is one release."""
    old = trial.version
    other = elsewhere(trial.site)
    first = trial.next()
    other.change(f"{first}-other")
    with attempt(trial.site) as one, attempt(other) as two:
        codes = {one.end(), two.end()}
    assert codes <= {0, 1, 11}, f"{one.said}\n{two.said}"
    trial.resume()
    trial.settle(old, first, f"{first}-other")


if __name__ == "__main__":
    sys.exit(main())
