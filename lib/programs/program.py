"""A program that something of an instance needs, as data. lookup.py looks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A program that a service needs: how it is found, asked for its version, and installed.

    `packages` maps a package manager (apt, dnf, brew) to the package that holds it.
    """

    name: str
    version_argv: tuple[str, ...]
    packages: Mapping[str, str]
    minimum: tuple[int, ...] = ()
    also_in: tuple[str, ...] = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/bin")
