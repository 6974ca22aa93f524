"""Users and hosts for the load on a hub, registered at it as anybody's are."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from keys import operation
from keys.hubwire import Registered
from keys.keyfile import PrivateKey
from keys.operation import Operation, SignedOperation

HOSTS_A_USER = 20


@dataclass(frozen=True)
class Party:
    """A registered host and its signing key."""

    id: str
    genesis: str
    key: PrivateKey


def new_user(now: datetime) -> tuple[SignedOperation, PrivateKey, PrivateKey]:
    """A user's first operation, its signing and its control key."""
    signing, control = PrivateKey.generate(), PrivateKey.generate()
    first = Operation(
        action="register", kind="user", seq=1, time=now, signing=signing.public, control=(control.public,)
    )
    return operation.sign(first, [signing, control]), signing, control


def new_host(
    user: SignedOperation, signing: PrivateKey, control: PrivateKey, now: datetime
) -> tuple[SignedOperation, PrivateKey]:
    """A host's first operation and its signing key."""
    own, own_control = PrivateKey.generate(), PrivateKey.generate()
    first = Operation(
        action="register", kind="host", owner=user.operation.digest, seq=1, time=now, signing=own.public,
        control=(control.public, own_control.public),
    )  # fmt: skip
    return operation.sign(first, [own, control, own_control], owner=signing), own


def make_parties(port: int, count: int) -> list[Party]:
    """`count` hosts, registered at the hub that listens at `port`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    now = datetime.now(UTC).replace(microsecond=0)

    def register(signed: SignedOperation) -> str:
        connection.request("POST", "/v1/ids", str(signed.note).encode())
        answer = connection.getresponse()
        raw = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {raw.decode()}")
        return msgspec.json.decode(raw, type=Registered).id

    found: list[Party] = []
    while len(found) < count:
        user, signing, control = new_user(now)
        register(user)
        for _ in range(min(HOSTS_A_USER, count - len(found))):
            host, key = new_host(user, signing, control, now)
            found.append(Party(register(host), host.operation.digest, key))
    connection.close()
    return found
