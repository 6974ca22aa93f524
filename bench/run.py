"""`make bench`: every measurement, round after round with the peers taking turns, into bench/RESULTS.md.

A round measures each peer once, and the order moves on by one from round to round, so that what else the
machine does falls on all of them. The results are medians over the rounds. Ours comes first in what is
measured once, and when the time is up no further round begins: what is in the page is then said there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.measures import cold, commands, output, rolling, sleepers
from bench.peers import pm2
from bench.peers.ampzero import Ampzero
from bench.peers.circus import Circus
from bench.peers.foreman import Foreman
from bench.peers.honcho import Honcho
from bench.peers.peer import Peer
from bench.peers.pm2 import Pm2
from bench.peers.runit import Runit
from bench.peers.s6 import S6
from bench.peers.supervisord import Supervisord
from bench.results import Results
from bench.running import TooSlow

RESULTS = Path(__file__).parent / "RESULTS.md"

MINUTES = 14.0
"""After so long nothing new is begun."""

SLOW_OUTPUT = (Honcho, Foreman)
"""Half a minute for a million lines: measured once."""

NOT_MANY = (Honcho,)
"""A process of Python for each child: 500 of them are 8 GB."""


def peers() -> list[Peer]:
    """All of them, ours first."""
    return [
        Ampzero(), Supervisord(), Circus(1), Circus(0.02), Pm2(), Honcho(), Foreman(), S6(), Runit(),
    ]  # fmt: skip


def tell(text: str) -> None:
    """A line about how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def in_turn(all_peers: list[Peer], number: int) -> list[Peer]:
    """The peers in the order of round `number`."""
    first = number % len(all_peers)
    return all_peers[first:] + all_peers[:first]


class Bench:
    """One run of it; what a peer cannot do in time is noted, and the rest goes on."""

    def __init__(self, here: list[Peer], results: Results, minutes: float, *, quick: bool) -> None:
        self.here = here
        self.results = results
        self.quick = quick
        self._until = time.monotonic() + minutes * 60

    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._until

    def attempt(self, what: str, work: Callable[[], object]) -> bool:
        """Do `work` if there is time; whether it was done."""
        if self.over():
            self.results.note(f"{what}: not measured, the time was up")
            return False
        tell(what)
        try:
            work()
        except (TooSlow, OSError, subprocess.SubprocessError) as error:
            self.results.note(f"{what}: {str(error)[:300]}")
            return False
        return True

    def once(self, rounds: int) -> None:
        """A cold instance, a rolling restart, and the commands."""
        results = self.results
        if any(isinstance(peer, Ampzero) for peer in self.here):
            for _ in range(rounds):
                self.attempt("a cold instance", lambda: results.cold.append(cold.measure()))
            self.attempt("a rolling restart", lambda: results.rolling.append(rolling.measure()))
        for peer in self.here:
            if isinstance(peer, Ampzero | Supervisord | Circus | Pm2):
                self.attempt(f"{peer.name}: commands", partial(self.commands, peer))

    def commands(self, peer: Peer) -> None:
        """How long the small commands of `peer` take."""
        self.results.commands[peer.name] = commands.measure(peer)

    def one_round(self, number: int) -> None:
        """Each peer once, at COUNT children, and its output."""
        for peer in in_turn(self.here, number):
            name = f"round {number + 1}: {peer.name}"

            def work(peer: Peer = peer) -> None:
                self.results.sleepers[peer.name].append(sleepers.measure(peer))

            def write(peer: Peer = peer) -> None:
                self.results.output[peer.name].append(output.measure(peer))

            if self.attempt(name, work) and not (number and isinstance(peer, SLOW_OUTPUT)):
                self.attempt(f"{name}, output", write)

    def sizes(self) -> None:
        """Each peer at one child and at many."""
        for peer in self.here:
            for count in (sleepers.ONE, sleepers.MANY):
                if count == sleepers.MANY and isinstance(peer, NOT_MANY):
                    continue
                if self.quick and not isinstance(peer, Ampzero):
                    continue

                def work(peer: Peer = peer, count: int = count) -> None:
                    found = sleepers.measure(peer, count, sleepers.FEW_KILLS, 0)
                    self.results.sizes[peer.name][count] = found

                self.attempt(f"{peer.name}: {count} children", work)


def main() -> int:
    """Measure everything; 1 when something of ours could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, the other sizes of ours only")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin nothing new after so long")
    parser.add_argument("--only", default="", help="names of peers, with commas between them")
    parser.add_argument("--stdout", action="store_true", help=f"print the table, leave {RESULTS.name} alone")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    results = Results()
    pm2.installed()
    here = []
    for peer in peers():
        if options.only and peer.name not in options.only.split(","):
            continue
        if missing := peer.missing():
            results.note(f"{peer.name} is left out: {missing} is not installed")
        else:
            here.append(peer)
    bench = Bench(here, results, options.minutes, quick=options.quick)
    if rounds == 1:
        results.note(
            "one round only: look at the medians of a full run before you believe a small difference"
        )
    bench.once(rounds)
    bench.one_round(0)
    bench.sizes()
    for number in range(1, rounds):
        if not bench.over():
            bench.one_round(number)
    text = results.markdown(here)
    if options.stdout:
        print(text)
    else:
        RESULTS.write_text(text)
        tell(f"written: {RESULTS}")
    return 0 if results.sleepers[Ampzero.name] and results.rolling and results.cold else 1


if __name__ == "__main__":
    sys.exit(main())
