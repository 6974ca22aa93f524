"""The name of a set of secrets: new whenever their content is, and telling nothing about it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from deploy.environment import Environment
from lib.errors import ConfigError, MissingError
from lib.files import storage_errors, write_atomic

RECORD = "secrets.json"


def secrets_name(folder: Path, environment: Environment) -> str:
    """`secrets-<16 hex>` for what the environment's secret files hold now; empty where there are none.

    The name is random: a hash of a short secret would give it away. `folder` is the coordinator's own.

    Raises: MissingError, ConfigError, StorageError.
    """
    if not environment.secrets:
        return ""
    record = folder / f"{environment.name}.{RECORD}"
    known: dict[str, str] = {}
    if record.exists():
        with storage_errors(record):
            known = json.loads(record.read_bytes() or b"{}")
    salt = known.get("salt") or os.urandom(16).hex()
    digest = _digest(environment, salt)
    if known.get("digest") == digest:
        return known["name"]
    name = f"secrets-{os.urandom(8).hex()}"
    write_atomic(record, json.dumps({"salt": salt, "digest": digest, "name": name}), 0o600, sync=True)
    return name


def _digest(environment: Environment, salt: str) -> str:
    whole = hashlib.sha256(salt.encode())
    for path, source in sorted(environment.secrets.items()):
        if not source.is_file():
            if source.exists():
                raise ConfigError(f"{environment.file}: secrets: {source} is not a file")
            raise MissingError(
                f"the secret {source} is not there", f"secrets: in {environment.file} names it"
            )
        with storage_errors(source):
            content = source.read_bytes()
        whole.update(f"{path}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()
