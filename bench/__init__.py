"""Ampify Zero side by side with other supervisors; `make bench` runs it."""
