"""Checks of a service's `ready:` and `live:` that types cannot make."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from lib.checks.values import Fail, Where, check_duration
from lib.config import Live, Ready

READY_KINDS = ("tcp", "http", "exec", "log", "notify", "redis", "postgres")
LIVE_KINDS = ("tcp", "http", "exec")
SHORTEST = 0.01
"""Seconds: below it a probe would do nothing but keep the machine busy."""


def check_ready(ready: Ready, where: Where, fail: Fail, *, has_port: bool) -> None:
    """`has_port`: whether the service has a TCP port that completes a path.

    Raises: ConfigError.
    """
    _check_kind(ready, READY_KINDS, where, fail)
    _check_target(ready, where, fail, has_port=has_port)
    if ready.log is not None:
        try:
            re.compile(ready.log)
            re.compile(ready.log.encode())  # it is matched against the bytes of the output
        except (re.error, RecursionError, OverflowError) as error:
            raise fail((*where, "log"), f"is not a regular expression: {error}") from error
    for key in ("redis", "postgres"):
        _check_domain(getattr(ready, key), (*where, key), fail)
    for key in ("interval", "timeout", "deadline"):
        check_duration(getattr(ready, key), (*where, key), fail, least=SHORTEST)
    if ready.period != 0:  # 0: not asked again
        check_duration(ready.period, (*where, "period"), fail, least=SHORTEST)


def check_live(live: Live, where: Where, fail: Fail, *, has_port: bool) -> None:
    """`has_port`: whether the service has a TCP port that completes a path.

    Raises: ConfigError.
    """
    _check_kind(live, LIVE_KINDS, where, fail)
    _check_target(live, where, fail, has_port=has_port)
    for key in ("timeout", "period"):
        check_duration(getattr(live, key), (*where, key), fail, least=SHORTEST)


def _check_kind(probe: Ready | Live, kinds: tuple[str, ...], where: Where, fail: Fail) -> None:
    given = [key for key in kinds if getattr(probe, key) is not None and getattr(probe, key) is not False]
    if len(given) != 1:
        what = f"{' and '.join(given)} are given" if given else "says not how"
        raise fail(where, f"{what}; it must be exactly one of {', '.join(kinds)}")


def _check_target(probe: Ready | Live, where: Where, fail: Fail, *, has_port: bool) -> None:
    for key in ("tcp", "http"):
        value = getattr(probe, key)
        if isinstance(value, int) and not 1 <= value <= 65535:
            raise fail((*where, key), "is not a port: 1 to 65535")
        if value == "":
            raise fail((*where, key), "is empty")
    if probe.exec is not None and not (
        probe.exec.strip() if isinstance(probe.exec, str) else probe.exec and probe.exec[0]
    ):
        raise fail((*where, "exec"), "is empty")
    try:
        _check_addresses(probe)
    except ValueError as error:
        key = "tcp" if probe.tcp is not None else "http"
        raise fail((*where, key), f"is not an address: {error}", "as 8000, host:8000, unix:/path"
                   if key == "tcp" else "as /path, 8000, http://host:8000/path") from error  # fmt: skip
    if isinstance(probe.http, str) and _is_path(probe.http) and not has_port:
        raise fail(
            (*where, "http"), "a path alone needs a port of the service",
            "add port: auto, or write the whole URL",
        )  # fmt: skip
    for key in ("send", "expect"):
        if getattr(probe, key) and probe.tcp is None:
            raise fail((*where, key), "works only with tcp", key=True)


def _check_domain(value: int | str | None, where: Where, fail: Fail) -> None:
    if isinstance(value, int | None):
        right = value is None or 1 <= value <= 65535
    elif value.startswith("unix:"):
        right = value != "unix:"
    else:
        host, colon, port = value.rpartition(":")
        right = bool(host or not colon) and port.isdecimal() and 1 <= int(port[:6]) <= 65535
    if not right:
        raise fail(where, "is not an address", "as 5432, host:5432, unix:/path")


def _is_path(http: str) -> bool:
    return not http.startswith(("http://", "https://", "http+unix:")) and not http.isdecimal()


def _check_addresses(probe: Ready | Live) -> None:
    """Raises: ValueError."""
    if isinstance(probe.tcp, str) and not probe.tcp.startswith("unix:"):
        port = int(probe.tcp.rpartition(":")[2])
        if not 1 <= port <= 65535:
            raise ValueError("the port must be from 1 to 65535")
    if isinstance(probe.http, str) and probe.http.startswith(("http://", "https://")):
        url = urlsplit(probe.http)
        if not url.hostname or url.port == 0:
            raise ValueError("no host or port")
    elif isinstance(probe.http, str) and probe.http.isdecimal() and not 1 <= int(probe.http) <= 65535:
        raise ValueError("the port must be from 1 to 65535")
