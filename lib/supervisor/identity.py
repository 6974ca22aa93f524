"""Who a child is when it is another user's: `limits.user` and `limits.group`, as systemd's User=, Group=."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from lib.supervisor.spec import Limits

PERSONAL = ("HOME", "USER", "LOGNAME", "SHELL")
"""Variables that tell of a user (environ(7)): another one's are worse than none."""


class Identity(NamedTuple):
    """A user and groups, by number; None: as ours. `variables` are what is the user's own of PERSONAL."""

    user: int | None
    group: int | None
    groups: list[int] | None
    variables: Mapping[str, str]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """`inherited` with this user's variables in place of ours."""
        if self.user is None:
            return dict(inherited)
        return {name: value for name, value in inherited.items() if name not in PERSONAL} | {**self.variables}

    def give(self, path: str | os.PathLike[str] | int) -> None:
        """Make a file that we made (a path, or a descriptor) this user's; who may not starts no such child.

        Raises: OSError.
        """
        if self.is_other:
            with suppress(PermissionError):
                os.chown(path, self.user or 0, -1)

    @property
    def is_other(self) -> bool:
        """Whether it is another user than we are."""
        return self.user not in (None, os.geteuid())


OURS = Identity(None, None, None, {})
"""Who we are ourselves."""


def identify(limits: Limits) -> Identity:
    """Whom `limits` names. A user that only a number is known of has no variables, and no further groups.

    Raises: OSError, with the name in `filename`, for a user or a group that there is not.
    """
    group = _group(limits.group) if limits.group else None
    if not limits.user:
        return OURS._replace(group=group)
    # Loaded by those who have one.
    import pwd

    try:
        known = pwd.getpwuid(int(limits.user)) if limits.user.isdigit() else pwd.getpwnam(limits.user)
    except KeyError:
        if not limits.user.isdigit():
            raise OSError(errno.EINVAL, "no such user", limits.user) from None
        number = int(limits.user)
        return Identity(number, number if group is None else group, [], {})
    group = known.pw_gid if group is None else group
    values = (known.pw_dir, known.pw_name, known.pw_name, known.pw_shell or "/bin/sh")
    return Identity(
        known.pw_uid, group, os.getgrouplist(known.pw_name, group), dict(zip(PERSONAL, values, strict=True))
    )


def _group(name: str) -> int:
    import grp

    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, "no such group", name) from None
