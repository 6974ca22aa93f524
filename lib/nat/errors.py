"""What can go wrong between us and a gateway; callers tell a conflict from the rest."""

from __future__ import annotations

from lib.errors import AmpzeroError


class GatewayError(AmpzeroError):
    """A gateway does not answer, answers nonsense, or says no."""


class ConflictError(GatewayError):
    """The external port is another's: asking for a different one makes sense."""
