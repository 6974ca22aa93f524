"""The verbs of commands that have many, a file for each kind; lib/commands/NAME.py puts them together."""
