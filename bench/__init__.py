"""Ampify Zero side by side with other supervisors; `make bench` runs it."""

import os

# What pip installed is compiled already; so is a checkout after its first command, unless this forbids it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
