"""The wire protocols of a running instance: requests and events over pyzmq."""
