"""This instance's log store: keeps every line that its services write, and answers searches.

Runs as the service `logstore` of amprun.yaml, or on App Engine (app.yaml). The store itself is ampzero's
lib/logstore; this file is yours, to wrap it or to put routes beside it.
"""

import config

from lib.logstore.app import create_app

app = create_app(
    config.data(), config.secrets(), config.limits(), config.instance(), config.ship_from(),
    page=config.HERE / "www" / "index.html",
)  # fmt: skip
