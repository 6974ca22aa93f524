"""A hub: it allots ids, states who has which keys, and logs every operation. Synchronous, thread-safe.

`Hub` is one hub, whoever serves it; `LocalHub` the one inside this program. keys/hubserver serves a Hub over
HTTP. How it is safe with threads and processes: keys/hub/database.py.
"""

from __future__ import annotations

from keys.hub.hub import Hub
from keys.hub.local import LocalHub

__all__ = ["Hub", "LocalHub"]
