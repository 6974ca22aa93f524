"""The checks of `tls` in amprun.yaml that need no file: who shows which certificate, and for which names."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from lib.checks.values import Fail, Where
from lib.config import Acme, Config
from lib.kinds import kind_of
from lib.root import is_writable_text

NAME = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
"""A DNS name of at least two parts, in small letters; what is not ASCII is written as xn--."""
RESERVED = ("localhost", "internal", "local", "arpa", "onion")
"""Last parts that no ACME server gives a certificate for; `test` and `example` are for tests of it."""
MOST_NAMES = 100
"""What Let's Encrypt puts into one certificate."""


def check_tls(config: Config, fail: Fail) -> None:
    """Refuse what cannot be.

    Raises: ConfigError.
    """
    tls, here = config.tls, ("tls",)
    for one, other in (("certificate", "key"), ("key", "certificate")):
        value = getattr(tls, one)
        if value is None:
            continue
        if getattr(tls, other) is None:
            raise fail((*here, one), f"there is no `{other}` with it", f"add {other}: PATH")
        if not value.strip() or not is_writable_text(value):
            raise fail((*here, one), "is no path of a file")
        if tls.acme is not None:
            raise fail((*here, "acme"), "stands beside your own certificate", "remove either", key=True)
    shown = any(kind_of(name, service) == "nginx" for name, service in config.services.items())
    if not shown and (tls.acme is not None or tls.certificate is not None):
        raise fail(here, "there is no nginx here to show a certificate", "add nginx: {}", key=True)
    if tls.acme is not None:
        _check_acme(tls.acme, (*here, "acme"), fail)


def _check_acme(acme: Acme, here: Where, fail: Fail) -> None:
    if not acme.names:
        raise fail((*here, "names"), "names no name to have a certificate for", "names: [www.example.org]")
    if len(acme.names) > MOST_NAMES:
        raise fail((*here, "names"), f"has more than {MOST_NAMES} names")
    for index, name in enumerate(acme.names):
        if name.startswith("*."):
            raise fail((*here, "names", index), "is for all names below, which http-01 cannot prove",
                       "name each of them")  # fmt: skip
        if _is_address(name) or not NAME.fullmatch(name) or name.rpartition(".")[2] in RESERVED:
            raise fail((*here, "names", index), "is not a public DNS name", "as www.example.org")
    if len(set(acme.names)) != len(acme.names):
        raise fail((*here, "names"), "has a name twice")
    try:
        url = urlsplit(acme.directory)
        good = url.scheme == "https" and bool(url.hostname) and is_writable_text(acme.directory)
    except ValueError:
        good = False
    if not good:
        raise fail((*here, "directory"), "is not an https:// URL")
    if acme.email and not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", acme.email):
        raise fail((*here, "email"), "is not an address of electronic mail")
    if not acme.agree:
        raise fail((*here, "agree"), f"the terms of service of {acme.directory} must be agreed to",
                   "read them, then write agree: true")  # fmt: skip


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
