"""Identities and trust: key files, signed notes, operations, the local hub, TLS."""
