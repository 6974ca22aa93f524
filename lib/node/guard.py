"""What a request that changes something must show: it comes from our own page, and carries its token.

Owns the reading of small forms, bounded, and the check of where a request comes from.
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from lib.node.session import Session

LARGEST_FORM = 8192
"""Bytes of a form; ours have under 300."""
MOST_FIELDS = 16


async def read_form(request: Request) -> dict[str, str] | None:
    """The fields of a urlencoded form, the first of each name; None when it is too large or not one."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            return None
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return None
    return {name: values[0] for name, values in fields.items()}


def same_origin(request: Request) -> bool:
    """Whether a browser sent this from a page of this very host.

    Browsers send `Sec-Fetch-Site` and, with every POST, `Origin`; a program that sends neither (curl) has no
    cookie jar to be abused and passes. Source: Fetch Metadata (W3C), the Fetch standard.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


def genuine(session: Session, form: dict[str, str]) -> bool:
    """Whether the form carries the session's token."""
    return hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode())
