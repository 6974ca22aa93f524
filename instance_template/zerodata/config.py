"""Settings of this instance's record store. The supervisor gives the environment; app.yaml does elsewhere."""

import os
from pathlib import Path

from lib.errors import ConfigError
from lib.signed import read_secret
from lib.zerodata.index import Index, load

HERE = Path(__file__).resolve().parent
KEY_ID = "instance"
"""The id of the key that the instance's own parts sign with."""
MAX_BYTES = 0
"""The most that the database may grow to; 0 = as much as the disk has."""
ON_APP_ENGINE = os.environ.get("GAE_ENV", "").startswith("standard")


def data() -> Path:
    """The folder of the database: ZERODATA_DATA; on App Engine, where only /tmp can be written, in it."""
    given = os.environ.get("ZERODATA_DATA") or ("/tmp/zerodata" if ON_APP_ENGINE else "")
    if not given:
        raise ConfigError("ZERODATA_DATA is not set", "ampzero run sets it to the service's data folder")
    return Path(given)


def secrets() -> dict[str, bytes]:
    """The secrets by key id. More keys (for a client elsewhere) go here, each with a file of its own."""
    given = os.environ.get("ZERODATA_SECRET_FILE")
    if not given:
        raise ConfigError("ZERODATA_SECRET_FILE is not set", "a file of 64 hex digits; ampzero run makes one")
    return {KEY_ID: read_secret(HERE / given)}


def indexes() -> list[Index]:
    """What index.yaml declares."""
    return load(HERE / "index.yaml")
