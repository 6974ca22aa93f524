"""The hooks that run here, before and after a deploy; `pre_update` runs on the hosts (deploy/agent)."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading

from deploy.environment import Environment
from deploy.progress import Progress
from lib.duration import seconds
from lib.errors import AmpzeroError, MissingError
from lib.instance import Instance


def run_hook(which: str, instance: Instance, environment: Environment, progress: Progress,
             release: str = "") -> None:  # fmt: skip
    """Run the hook `which` (pre_deploy, post_deploy) in the instance's folder, where there is one.

    Its variables: AMPZERO_INSTANCE, AMPZERO_ENVIRONMENT, AMPZERO_RELEASE, AMPZERO_HOSTS (names with blanks).

    Raises: AmpzeroError where it fails or takes too long; MissingError where there is no such program.
    """
    given = getattr(environment.hooks, which)
    if given is None:
        return
    argv = shlex.split(given) if isinstance(given, str) else list(given)
    variables = {
        "AMPZERO_INSTANCE": instance.name, "AMPZERO_ENVIRONMENT": environment.name,
        "AMPZERO_RELEASE": release, "AMPZERO_HOSTS": " ".join(host.name for host in environment.hosts),
    }  # fmt: skip
    progress.step(f"running {which}")
    try:
        process = subprocess.Popen(
            argv, cwd=instance.directory, env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise MissingError(
            f"{which}: {argv[0]}: {error.strerror}", f"hooks: in {environment.file}"
        ) from error
    limit = seconds(environment.hooks.timeout)
    timer = threading.Timer(limit, lambda: _end(process))
    timer.start()
    try:
        assert process.stdout is not None  # noqa: S101 -- it was asked for
        for line in process.stdout:
            progress.output("", line.rstrip("\n"))
        code = process.wait()
    finally:
        late = not timer.is_alive()
        timer.cancel()
        _end(process)
    if late:
        raise AmpzeroError(f"{which} took longer than {limit:g} s", f"hooks: timeout: in {environment.file}")
    if code:
        then = "nothing was deployed" if which == "pre_deploy" else "the release is live"
        raise AmpzeroError(f"{which} ended with exit code {code}; {then}")


def _end(process: subprocess.Popen[str]) -> None:
    """End the hook with all that it started."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        return
