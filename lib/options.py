"""What `ampzero run` was told: kept in the plan, so that a reload plans with the same."""

from __future__ import annotations

from dataclasses import dataclass

RELEASE_VARIABLE = "AMPZERO_RELEASE"
"""Names the release of the instance's code, to `run` and `reload` and to the processes that run it."""


PASSPHRASE_VARIABLE = "AMPZERO_PASSPHRASE_FILE"  # noqa: S105 -- the variable's name
"""Names a file with the passphrase of the host's private key, so that it can announce itself."""


@dataclass(frozen=True)
class Options:
    """The options of `ampzero run`; `hub` and `nat` are false after --no-hub and --no-nat-bypass.

    `release` is what RELEASE_VARIABLE said; a deploy sets it. `passphrase_file` is what PASSPHRASE_VARIABLE
    said, as an absolute path.
    """

    only: tuple[str, ...] = ()
    server: bool = False
    debug: bool = False
    foreground: bool = False
    hub: bool = True
    nat: bool = True
    release: str = ""
    passphrase_file: str = ""
