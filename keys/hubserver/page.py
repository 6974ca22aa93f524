"""The page /ids/ID: a public identity and its history, for people. Nothing foreign, no script, no cookie."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from html import escape

from keys.fields import moment
from keys.history import History
from keys.operation import SignedOperation
from keys.root import Root
from keys.statement import Statement

STYLE = """
:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#b3261e}
body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:46rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:1.5rem 0 .25rem}
dl{margin:0}dt{font-weight:600;margin-top:.5rem}dd{margin:0}
code{font:.85rem ui-monospace,monospace;overflow-wrap:anywhere}
ol{padding:0;list-style:none;margin:0}li{border-top:1px solid var(--line);padding:.5rem 0}
.good::before{content:"\\2713 ";color:var(--good)}.bad::before{content:"\\2717 ";color:var(--bad)}
footer{margin-top:2rem;border-top:1px solid var(--line);font-size:.85rem}
"""
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = (
    (b"content-security-policy",
     f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; "
     "frame-ancestors 'none'".encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"public, max-age=60"),
)  # fmt: skip


def identity(
    said: Statement, known: History, checks: Sequence[tuple[str, bool]], size: int,
    now: datetime,
) -> str:  # fmt: skip
    """The page of one identity; `checks` are what the hub verified just now, `size` that of its log."""
    keys = [("signing key", str(said.signing) if said.signing else "none: revoked")]
    keys += [(f"control key {rank}, held by {one.holder}", str(one.key))
             for rank, one in enumerate(said.control, 1)]  # fmt: skip
    facts = [("genesis (stays when keys and hubs change)", said.genesis), ("newest operation", said.head)]
    if said.owner:
        facts.append(("genesis of its owner", said.owner.genesis))
    facts.append(("stated", f"{moment(said.issued)} to {moment(said.expires)}"))
    owner = ""
    if said.owner:
        owner = f' of <a href="/ids/{escape(said.owner.id)}">{escape(said.owner.id)}</a>'
    warning = said.warning(now)
    body = [
        f"<h1>{escape(said.id)}</h1>",
        f"<p>A {escape(said.id.partition('-')[0])}{owner} at the hub {escape(said.hub)}.</p>",
        *(f'<p class="bad">{escape(text)}</p>' for text in (warning,) if text),
        "<h2>Checked by this hub</h2><ol>",
        *(f'<li class="{"good" if is_good else "bad"}">{escape(what)}</li>' for what, is_good in checks),
        "</ol><p>Believe your own check more: <code>ampzero hub lookup "
        f"{escape(said.id)}</code> verifies all of it on your machine.</p>",
        "<h2>Keys</h2>", _list(keys), "<h2>Identity</h2>", _list(facts),
        "<h2>History</h2><ol>",
        *map(_operation, reversed(known.operations)),
        f"</ol><footer><p>Entry {said.index} of {size} in the log. "
        f'<a href="/v1/ids/{escape(said.id)}">statement</a>, '
        f'<a href="/v1/ids/{escape(said.id)}/ops">operations</a>, <a href="/checkpoint">checkpoint</a>'
        "</p></footer>",
    ]  # fmt: skip
    return document(said.id, "\n".join(body))


def front(hub: Root, fingerprint: str, size: int) -> str:
    """The page at /."""
    body = [
        f"<h1>{escape(hub.origin)}</h1>",
        f"<p>A hub: it vouches for the keys of users and hosts. Its log has {size} entries.</p>",
        "<h2>Use it</h2><p>Compare the part after # with what its operator tells you on another way.</p>",
        f"<p><code>ampzero init NAME --hub {escape(hub.url)}#{escape(fingerprint)}</code></p>",
        f'<footer><p><a href="/v1/hub">root note, version {hub.version}</a>, '
        '<a href="/checkpoint">checkpoint</a></p></footer>',
    ]
    return document(hub.origin, "\n".join(body))


def document(title: str, body: str) -> str:
    """A whole page; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _list(pairs: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in pairs)
    return f"<dl>{rows}</dl>"


def _operation(signed: SignedOperation) -> str:
    one = signed.operation
    return (
        f"<li><b>{one.seq}. {escape(one.action)}</b> {moment(one.time)}<br>"
        f"<code>{escape(one.digest)}</code></li>"
    )
