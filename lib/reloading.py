"""Changing an instance that runs into what its files say now: only the difference, and all of it checked.

What is wrong with the files shows before anything is touched. A program that checks its own configuration
(nginx) does so with the new files beside the old ones. The supervisor puts them in place, service by service,
and the old ones back where a service does not work with the new.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec

from lib import leftovers, preparing, running, succession
from lib.certificates import Certify
from lib.errors import NotReadyError, TakenError
from lib.files import Lock, write_atomic
from lib.instance import Instance
from lib.options import RELEASE_VARIABLE, Options
from lib.selfcheck import run_check
from lib.services.base import RenderedFile
from lib.supervisor.change import Change, changes
from lib.supervisor.release import NewFile
from lib.supervisor.spec import Plan, ServiceSpec

CHANGE_TIME = 600.0
"""Seconds to wait for another change of the plan."""

CORRECT = "the old one stays; correct it and reload again"


class Reload:
    """A reload that is worked out, and not carried out yet."""

    def __init__(self, instance: Instance, certify: Certify, only: frozenset[str] = frozenset(),
                 lock: Lock | None = None) -> None:  # fmt: skip
        """With `only`, nothing but these services changes, and the files of others that name them.
        `lock` is what `begin` gave, where the caller called it.

        Raises: NotRunningError; any AmpzeroError of a wrong configuration."""
        self._instance = instance
        self._lock = lock or begin(instance)
        client = running.connect(instance)
        self._running = msgspec.json.decode(client.call("plan"), type=Plan)
        options = msgspec.convert(json.loads(self._running.notes["options"]), Options, strict=False)
        # Without the word of a deploy the release is still the one that it named last.
        options = replace(options, release=os.environ.get(RELEASE_VARIABLE) or options.release)
        ports = preparing.port_book(instance, leftovers.find(instance))
        try:
            self._parts = preparing.prepare(instance, options, ports, certify)
        finally:
            ports.release()
        self.left_out = [
            name for name in instance.config.services if options.only and name not in options.only
        ]
        """Services that this run leaves out: it was begun with --only."""
        self.changes: list[Change] = changes(self._running, self._parts.plan)
        if not only and succession.is_due(self._running):
            self.changes.insert(0, Change("succeed", "", "ampzero is another version"))
        if only:
            self.changes = [
                change for change in self.changes if change.service in only or change.action == "reload"
            ]
        touched = {change.service for change in self.changes}
        new = {service.name: service for service in self._parts.plan.services}
        self._plan = self._parts.plan
        if only:
            services = tuple(new[old.name] if old.name in touched else old for old in self._running.services)
            self._plan = msgspec.structs.replace(self._running, services=services)

    def carry_out(self) -> list[str]:
        """Let the supervisor change over, or one of this version in its place; what it did, in words.

        Raises: ConfigError when a program refuses its new files; NotReadyError when a service does not become
        ready, which then is as it was.
        """
        succeeds = any(change.action == "succeed" for change in self.changes)
        files = {str(file.path): file for file in self._parts.files}
        return change_over(self._instance, self._running, self._plan, files, succeeds=succeeds)


def change_over(instance: Instance, old: Plan, new: Plan, files: Mapping[str, RenderedFile], *,
                succeeds: bool = False) -> list[str]:  # fmt: skip
    """Have the supervisor change the plan `old`, which runs, into `new`; what it did, in words.

    `files` are the files of the services by their paths; those that are others than in `old` are checked by
    the services' own programs first. With `succeeds` a supervisor of this version takes its place before.

    Raises: as Reload.carry_out.
    """
    known = {path: digest for service in old.services for path, digest in service.files.items()}
    wanted = {path: digest for service in new.services for path, digest in service.files.items()}
    changed = {
        path: file for path, file in files.items() if path in wanted and wanted[path] != known.get(path)
    }
    for service in new.services:
        if own := [changed[path] for path in service.files if path in changed]:
            _check(service, own)
    if succeeds:
        # What is not ready with the old files may be with the new ones.
        with suppress(NotReadyError):
            succession.succeed(instance, lambda report: None)
    sent = {path: NewFile(file.content, file.mode) for path, file in changed.items()}
    done: list[str] = running.connect(instance).call(
        "reload",
        running.START_TIME,
        plan=msgspec.json.encode(new).decode(),
        files=msgspec.to_builtins(sent),
    )
    return done


def begin(instance: Instance) -> Lock:
    """Let no other reload or scale of the instance come in between until this lock, or this process, is gone.

    A plan that was made before another's change would take that back.

    Raises: NotRunningError; TakenError when another takes too long.
    """
    running.connect(instance)
    lock = Lock(instance.run / "changing")
    until = time.monotonic() + CHANGE_TIME
    while not lock.acquire():
        if time.monotonic() > until:
            raise TakenError(
                f"{instance.name} is being changed by another reload or scale", "try again later"
            )
        time.sleep(0.05)
    return lock


def _check(service: ServiceSpec, files: list[RenderedFile]) -> None:
    """Have the service's own checks look at `files`, each in a file beside its place.

    Raises: ConfigError when a check fails, with its first line; StorageError.
    """
    checks = service.processes[0].check if service.processes else ()
    beside = {str(file.path): file.path.with_name(f"{file.path.name}.new") for file in files}
    try:
        for file in files if checks else ():
            write_atomic(beside[str(file.path)], file.content, file.mode)
        for argv in checks:
            run_check(service, argv, beside, CORRECT)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
