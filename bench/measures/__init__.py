"""One file a measurement; each takes a started peer or starts its own."""
