"""TLS: the local CA and its leaves, pins, ACME, the user's own files, and who trusts them."""
