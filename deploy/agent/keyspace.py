"""What the keyspace's member on this host knows of all, asked by etcd's JSON gateway as any client asks."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from deploy.agent import durable
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

TIME = 10.0
LARGEST = 1 << 20
NOT_RUNNING = 10
NO_ANSWER = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading raises that is not what etcd answers."""


def members(layout: Layout, instance: str) -> list[dict[str, Any]]:
    """Name (empty for one that was added and has not started), peer_urls and client_urls (empty for one that
    never ran) of each member.

    Raises: AgentError where the member on this host does not answer.
    """
    folder = layout.instance_var(instance) / "state/keyspace"
    told = durable.read_json(folder / "cluster.json") or {}
    try:
        place = urlsplit(told["members"][told["own"]]["client_url"])
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
        connection = http.client.HTTPSConnection(
            place.hostname or "", place.port, timeout=TIME, context=context
        )
        try:
            connection.request("POST", "/v3/cluster/member/list", b"{}")
            answer = json.loads(connection.getresponse().read(LARGEST))
        finally:
            connection.close()
        return [
            {
                "name": str(each.get("name", "")),
                "peer_urls": [str(url) for url in each.get("peerURLs", [])],
                "client_urls": [str(url) for url in each.get("clientURLs", [])],
            }
            for each in answer["members"]
        ]
    except (OSError, http.client.HTTPException, *NO_ANSWER) as error:
        raise AgentError(
            f"the keyspace does not answer here: {error}", "ampzero hosts", NOT_RUNNING
        ) from error
