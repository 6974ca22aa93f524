"""One file a command: its arguments, and a call of typed functions."""
