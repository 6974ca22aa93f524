"""Releases and hosts. Empty until `ampzero deploy` arrives."""
