"""The `limits:` section of a service, in the supervisor's terms."""

from __future__ import annotations

from lib.config import LimitsConfig
from lib.duration import seconds
from lib.size import size
from lib.supervisor.spec import Limits


def make_limits(config: LimitsConfig) -> Limits:
    """The limits of a `limits:` section that was checked.

    Raises: ConfigError for a size that is none.
    """
    given = {
        "nofile": config.files,
        "nproc": config.processes,
        "core": None if config.core is None else size(config.core),
        "fsize": None if config.file_size is None else size(config.file_size),
        "cpu": None if config.cpu_time is None else max(1, int(seconds(config.cpu_time))),
    }
    return Limits(
        rlimits={name: value for name, value in given.items() if value is not None},
        memory=0 if config.memory is None else size(config.memory), nice=config.nice,
        umask=-1 if config.umask is None else int(config.umask, 8), user=config.user, group=config.group,
    )  # fmt: skip
