"""The commands that a release brings for its hosts: run without a shell, with a deadline."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.agent import command
from deploy.agent.manifest import Manifest


def run(argv: list[str], folder: Path, manifest: Manifest, host: str, role: str,
        said: command.Said, deadline: float) -> int:  # fmt: skip
    """Run `argv` in `folder`; its exit code. Its variables tell of the release and the host.

    Raises: AgentError where it cannot be run or takes too long.
    """
    variables = {
        "AMPZERO_RELEASE": manifest.release, "AMPZERO_HOST": host,
        "AMPZERO_ENVIRONMENT": manifest.environment, "AMPZERO_INSTANCE": manifest.instance,
        "AMPZERO_ROLE": role,
    }  # fmt: skip
    return command.run(argv, deadline=deadline, said=said, env={**os.environ, **variables}, cwd=folder).code
