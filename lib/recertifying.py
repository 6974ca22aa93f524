"""Having a running nginx show renewed TLS files: they take the place of the old ones in its configuration.

Nothing else of the instance's files is taken up: somebody may be changing them just now. As with a reload,
nginx checks the new configuration beside the old one, and the old one is back where it does not work.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path

import msgspec

from lib import reloading, running
from lib.certificates import Certificates, noted
from lib.errors import ConfigError
from lib.files import storage_errors
from lib.instance import Instance
from lib.services.base import RenderedFile
from lib.services.nginx import expandable
from lib.supervisor.spec import Plan, ServiceSpec

NOTE = "tls"
"""The note of a plan that tells the TLS files with which it was made."""


def take_up(instance: Instance, certificates: Certificates) -> bool:
    """Have the running instance show `certificates`; whether anything was another before.

    Raises: NotRunningError; ConfigError where nginx refuses them, or amprun.yaml says something else of `tls`
    than when the instance was started; NotReadyError where nginx does not begin with them.
    """
    lock = reloading.begin(instance)
    try:
        old = running.plan(instance)
        try:
            before = noted(old.notes.get(NOTE, ""))
        except ValueError:
            return False  # no nginx runs here, or an older version started it
        if before == certificates:
            return False
        if before.settings != certificates.settings:
            raise ConfigError(
                f"{instance.config_file}: what it says of `tls` was changed, and is not taken up yet",
                "ampzero reload",
            )
        new, files = _changed(old, before, certificates)
        reloading.change_over(instance, old, new, files)
    finally:
        lock.release()
    return True


def _changed(old: Plan, before: Certificates, after: Certificates) -> tuple[Plan, dict[str, RenderedFile]]:
    """The plan with the new files' names in the configurations of its nginx, and these configurations."""
    files: dict[str, RenderedFile] = {}
    services: list[ServiceSpec] = []
    for service in old.services:
        digests = dict(service.files)
        for path in service.files if service.kind == "nginx" else ():
            with storage_errors(Path(path)):
                text = replaced(Path(path).read_text(encoding="utf-8"), before, after)
            files[path] = RenderedFile(Path(path), text)
            digests[path] = hashlib.sha256(text.encode()).hexdigest()
        services.append(msgspec.structs.replace(service, files=digests))
    notes = {**old.notes, NOTE: after.text()}
    return msgspec.structs.replace(old, services=tuple(services), notes=notes), files


def replaced(text: str, before: Certificates, after: Certificates) -> str:
    """nginx's configuration `text` with the paths of the new files for those of the old ones."""
    paths = [field.name for field in fields(Certificates) if field.name not in ("challenges", "settings")]
    for name in paths:
        old, new = getattr(before, name), getattr(after, name)
        text = text.replace(f'"{expandable(str(old))}"', f'"{expandable(str(new))}"')
    return text
