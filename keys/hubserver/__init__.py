"""The hub as a server: ASGI over keys/hub, for anyone to run (docs/hub.md)."""
