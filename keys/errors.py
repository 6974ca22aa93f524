"""What can be wrong with keys and signatures; callers tell these apart from other errors."""

from __future__ import annotations

from lib.errors import AmpzeroError, RefusedError, TakenError, UnreachableError


class TrustError(AmpzeroError):
    """A signed thing is malformed, or is not signed by whom it must be: nothing in it may be believed."""


class PassphraseError(AmpzeroError):
    """A private key is encrypted and the passphrase is missing or wrong; asking again makes sense."""


class HeadError(TakenError):
    """An operation or announcement does not follow the newest one of its identity: another came first.

    `head` is the base64 digest of the identity's newest operation.
    """

    def __init__(self, message: str, hint: str = "", head: str = "") -> None:
        super().__init__(message, hint)
        self.head = head


class QuotaError(RefusedError):
    """A hub's quota is used up. `retry_after` is in seconds; 0 where waiting does not help."""

    def __init__(self, message: str, hint: str = "", retry_after: int = 0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class HistoryError(RefusedError):
    """A hub was caught: its log or its root is not the one that was seen before. The evidence is kept."""


class BusyError(UnreachableError):
    """A hub has too much to do, or we asked too often; `retry_after` is in seconds."""

    def __init__(self, message: str, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
