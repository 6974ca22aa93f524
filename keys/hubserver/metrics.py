"""What the hub's server counts, as Prometheus text (version 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets of durations, in seconds."""


class Metrics:
    """Counts of one process. `call` is the name of a call (docs/hub.md), never what a client wrote."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.limited: Counter[str] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def answered(self, call: str, status: int, seconds: float) -> None:
        """One request has been answered."""
        self.answers[call, status] += 1
        buckets = self._buckets.get(call)
        if buckets is None:
            buckets = self._buckets[call] = [0] * (len(BOUNDS) + 1)
        buckets[bisect_left(BOUNDS, seconds)] += 1
        self._seconds[call] += seconds

    def text(self, gauges: dict[str, tuple[str, float]], dialled: dict[bool, int]) -> str:
        """The exposition; `gauges` are further values by name, with their help."""
        lines = _head("ampzero_hub_answers_total", "counter", "Requests answered, by call and status.")
        for (call, status), count in sorted(self.answers.items()):
            lines.append(f'ampzero_hub_answers_total{{call="{call}",status="{status}"}} {count}')
        lines += _head("ampzero_hub_answer_seconds", "histogram", "How long answers took, by call.")
        for call, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
                total += count
                lines.append(f'ampzero_hub_answer_seconds_bucket{{call="{call}",le="{bound}"}} {total}')
            lines.append(f'ampzero_hub_answer_seconds_sum{{call="{call}"}} {self._seconds[call]:.6f}')
            lines.append(f'ampzero_hub_answer_seconds_count{{call="{call}"}} {total}')
        lines += _head("ampzero_hub_limited_total", "counter", "Requests refused by a rate limit.")
        lines += [
            f'ampzero_hub_limited_total{{rate="{rate}"}} {n}' for rate, n in sorted(self.limited.items())
        ]
        lines += _head("ampzero_hub_dialbacks_total", "counter", "Dial-backs, by whether the port answered.")
        lines += [
            f'ampzero_hub_dialbacks_total{{reachable="{"yes" if result else "no"}"}} {count}'
            for result, count in dialled.items()
        ]
        for name, (help_text, value) in gauges.items():
            lines += [*_head(name, "gauge", help_text), f"{name} {value:.15g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
