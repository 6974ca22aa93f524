"""This instance's record store: an authenticated store of JSON records with queries.

Runs as the service `zerodata` of amprun.yaml, or on App Engine (app.yaml). The store itself is ampzero's
lib/zerodata; this file is yours, to wrap it or to put routes beside it.
"""

import config

from lib.zerodata.app import create_app

app = create_app(config.data(), config.secrets(), config.indexes(), max_bytes=config.MAX_BYTES)
