"""Who may call: the key that the caller proved must be the one which the host it claims to be announces.

nginx asks before each request (auth_request) and hands over the certificate of the TLS connection, whose key
the caller has proved by it. No authority signs these certificates, and none is asked.
"""

from __future__ import annotations

import hmac
import ssl
from urllib.parse import unquote_to_bytes

from keys.contact.resolver import RETRY, Resolver
from keys.errors import TrustError
from keys.tls.certificate import key_digest
from lib.contact.token import HOST_ID, Caller
from lib.errors import RefusedError

LONGEST = 16 * 1024
"""Bytes of an escaped certificate; ours have about 1,200."""


class Gate:
    """Judges callers by what `resolver` finds. Blocks; safe in several threads."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def judge(self, claimed: str, certificate: str) -> Caller:
        """The caller that says to be the host `claimed`; `certificate` is its PEM text, URL-escaped.

        Raises: RefusedError, and what Resolver.peer raises.
        """
        if not HOST_ID.fullmatch(claimed):
            raise RefusedError("a call needs the header Ampzero-From: host-N", "see docs/contact.md")
        shown = pin_of(certificate)
        peer = self._resolver.peer(claimed)
        if not hmac.compare_digest(shown, peer.said.pin):
            # It may have a new key since we looked.
            peer = self._resolver.peer(claimed, newer_than=RETRY)
        if not hmac.compare_digest(shown, peer.said.pin):
            raise RefusedError(f"the certificate is not of the key that {claimed} announces")
        return peer.who


def pin_of(escaped: str) -> str:
    """The pin of the key in an escaped PEM certificate.

    Raises: RefusedError.
    """
    if not escaped:
        raise RefusedError("a call needs a client certificate", "see docs/contact.md")
    if len(escaped) > LONGEST:
        raise RefusedError("the client certificate is too long")
    try:
        return key_digest(ssl.PEM_cert_to_DER_cert(unquote_to_bytes(escaped).decode("ascii")))
    except (ValueError, TrustError) as error:
        raise RefusedError("the client certificate cannot be read") from error
