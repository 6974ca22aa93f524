"""Bringing an instance up: the named steps from its configuration to a supervisor that runs.

Owns what must be there before the supervisor, that only one runs, and that its process loads while its plan
is made (lib/preparing.py, which is loaded only then).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lib import leftovers, whereabouts
from lib.errors import AmpzeroError, StorageError
from lib.files import Lock, make_folder, write_atomic
from lib.instance import Instance
from lib.running import check_owner, is_running, owner_file
from lib.supervisor import daemon, guardian, openfiles, tree
from lib.supervisor.launch import Launch, Report

if TYPE_CHECKING:
    from lib.certificates import Certify
    from lib.options import Options

LOCK_TIME = 0.05
"""Seconds in which a lock that is only being looked at is free again."""


def take_lock(instance: Instance) -> Lock | None:
    """The lock of the instance's run, None when a supervisor holds it; makes the folders it needs.

    Raises: StorageError; TakenError when another instance uses the same folder.
    """
    make_folders(instance)
    lock = Lock(instance.run / "lock")
    begun = time.monotonic()
    while not lock.acquire():
        # Where its holder is dead the guardian of that run has it, while it ends what is left.
        cleaning = (holder := lock.holder()) > 0 and not tree.lives(holder)
        if time.monotonic() - begun > (guardian.GIVE_UP if cleaning else LOCK_TIME):
            check_owner(instance)
            return None
        time.sleep(LOCK_TIME / 10)
    owner = owner_file(instance)
    known = check_owner(instance)
    if known != str(instance.directory):
        write_atomic(owner, f"{instance.directory}\n", 0o600)
    return lock


def make_folders(instance: Instance) -> None:
    """The instance's folders below amprun_root_directory; what may hold secrets is the user's alone.

    Raises: StorageError.
    """
    make_folder(instance.var)
    for folder in (instance.logs, instance.data, instance.conf, instance.state, instance.run):
        make_folder(folder, 0o700)
    if instance.sockets != instance.run:
        make_folder(instance.sockets.parent, 0o700)
        make_folder(instance.sockets, 0o700)
    private = [instance.sockets, *([instance.sockets.parent] if instance.sockets != instance.run else [])]
    for folder in private:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise StorageError(f"{folder} is not a folder of yours alone", "remove it, or chmod 700 it")


def start(
    instance: Instance, options: Options, lock: Lock, certify: Certify, heard: Callable[[Report], None]
) -> None:
    """Start the instance; in the background it returns when all is ready, in the foreground not at all.

    Raises: any AmpzeroError; then nothing of the instance runs.
    """
    soft = openfiles.raise_limit()
    left = leftovers.find(instance)
    if options.foreground:
        with _launch(instance, options, lock, certify, left, soft) as launch:
            daemon.replace_process(launch)
    with daemon.Starting(instance.name, instance.run / "supervisor.err") as process:
        with _launch(instance, options, lock, certify, left, soft) as launch:
            process.run(launch)
        lock.release()
        try:
            process.wait(heard)
        except AmpzeroError:
            # It has ended everything itself, unless it died before it could.
            if not is_running(instance):
                leftovers.end(instance)
            raise


@contextmanager
def _launch(
    instance: Instance, options: Options, lock: Lock, certify: Certify, left: set[int], soft: int
) -> Iterator[Launch]:
    """What the supervisor is to run, all its files written; the ports are held until it is handed over.

    `left` are the processes of a supervisor that died, `soft` the limit of open files for the children.

    Raises: any AmpzeroError.
    """
    from lib import preparing, scaling

    ports = preparing.port_book(instance, left)
    if not left:
        scaling.forget(instance)
    try:
        parts = preparing.prepare(instance, options, ports, certify)
        for file in parts.files:
            preparing.write_file(file)
        whereabouts.remember(instance)
        umask = os.umask(0o077)
        os.umask(umask)
        yield Launch(plan=parts.plan, held=ports.descriptors(), foreground=options.foreground, umask=umask,
                     open_files=soft, lock=lock.descriptor())  # fmt: skip
    finally:
        ports.release()
