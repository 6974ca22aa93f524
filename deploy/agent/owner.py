"""An agent that is started as root works as the owner of the root folder, with no right of root left."""

from __future__ import annotations

import os
import pwd

from deploy.agent.layout import Layout


def become_owner(layout: Layout) -> None:
    """Give up root for good, where this process has it and the root folder is another's."""
    if os.geteuid() != 0 or not layout.host_file.exists():
        return
    found = layout.root.stat()
    if found.st_uid == 0:
        return
    user = pwd.getpwuid(found.st_uid)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    os.chdir("/")
