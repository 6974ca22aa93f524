"""Settings of this instance's log store. The supervisor gives the environment; app.yaml does elsewhere."""

import os
from pathlib import Path

from lib.errors import ConfigError
from lib.logstore.store import Limits
from lib.signed import read_secret

HERE = Path(__file__).resolve().parent
KEY_ID = "instance"
"""The id of the key that the instance's own parts sign with."""
KEEP_DAYS = 14.0
"""Older records are dropped; 0 = kept however old."""
KEEP_MEGABYTES = 512
"""The oldest records are dropped when the database holds more; 0 = as much as the disk has."""
ON_APP_ENGINE = os.environ.get("GAE_ENV", "").startswith("standard")


def data() -> Path:
    """The folder of the database: LOGSTORE_DATA; on App Engine, where only /tmp can be written, in it."""
    given = os.environ.get("LOGSTORE_DATA") or ("/tmp/logstore" if ON_APP_ENGINE else "")
    if not given:
        raise ConfigError("LOGSTORE_DATA is not set", "ampzero run sets it to the service's data folder")
    return Path(given)


def secrets() -> dict[str, bytes]:
    """The secrets by key id. More keys (for instances elsewhere) go here, each with a file of its own."""
    given = os.environ.get("LOGSTORE_SECRET_FILE")
    if not given:
        raise ConfigError("LOGSTORE_SECRET_FILE is not set", "a file of 64 hex digits; ampzero run makes one")
    return {KEY_ID: read_secret(HERE / given)}


def limits() -> Limits:
    """How much is kept."""
    return Limits(age=KEEP_DAYS * 86400, size=KEEP_MEGABYTES * 1024 * 1024)


def instance() -> str:
    """The name under which the records that it reads itself are kept."""
    return os.environ.get("AMPZERO_INSTANCE", "")


def ship_from() -> Path | None:
    """The folder of log segments to read: that of the instance it runs in; elsewhere records are sent to it."""
    given = os.environ.get("LOGSTORE_SHIP_FROM")
    return Path(given) if given and instance() else None
