"""What was found when an identity was verified, in the order of the chain of trust, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lib.errors import AmpzeroError

OK, WRONG, OPEN = "ok", "WRONG", "--"


@dataclass(frozen=True)
class Finding:
    """`verdict` is OK, WRONG, or OPEN for what could not be checked."""

    verdict: str
    text: str


@dataclass
class Report:
    """The findings so far."""

    findings: list[Finding] = field(default_factory=list)

    def ok(self, text: str) -> None:
        """Something holds."""
        self.findings.append(Finding(OK, text))

    def wrong(self, text: str) -> None:
        """Something does not."""
        self.findings.append(Finding(WRONG, text))

    def open(self, text: str) -> None:
        """Something could not be checked, or is for a person to look at."""
        self.findings.append(Finding(OPEN, text))

    @property
    def problems(self) -> list[str]:
        """What is wrong."""
        return [finding.text for finding in self.findings if finding.verdict == WRONG]

    @contextmanager
    def about(self, what: str) -> Iterator[None]:
        """An error in here is a finding: the rest can be looked at all the same."""
        try:
            yield
        except AmpzeroError as error:
            message = error.message
            self.wrong(message if what in message else f"{what}: {message}")
