"""One file a supervisor, all with the interface of peer.py."""
