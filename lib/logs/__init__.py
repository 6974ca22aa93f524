"""The instance's logs on disk: the format of a record, and how they are read (docs/logs.md).

The supervisor writes them; it and everybody else take the format from lib/logs/record.py. Reading is
lib/logs/reader.py (one service) and lib/logs/merge.py (several, by time). Importing the package loads
nothing.
"""
