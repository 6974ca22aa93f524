"""Users and hosts with their keys and operations, for tests of hubs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from keys import announcement, operation
from keys.announcement import Announcement
from keys.fields import encode
from keys.keyfile import PrivateKey
from keys.operation import Operation, SignedOperation

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@dataclass
class Party:
    """A user, or a host of `owner`; `operations` are its chain."""

    owner: Party | None = None
    signing: PrivateKey = field(default_factory=PrivateKey.generate)
    control: PrivateKey = field(default_factory=PrivateKey.generate)
    operations: list[SignedOperation] = field(default_factory=list)

    def __post_init__(self) -> None:
        owner = self.owner
        controls = [owner.control, self.control] if owner else [self.control]
        first = Operation(
            action="register", kind="host" if owner else "user", owner=owner.genesis if owner else "", seq=1,
            time=NOW, signing=self.signing.public, control=tuple(key.public for key in controls),
        )  # fmt: skip
        signed = operation.sign(first, [self.signing, *controls], owner=owner.signing if owner else None)
        self.operations.append(signed)

    @property
    def first(self) -> SignedOperation:
        """The operation that registers it."""
        return self.operations[0]

    @property
    def genesis(self) -> str:
        """The digest of the first operation."""
        return self.first.operation.digest

    @property
    def head(self) -> str:
        """The digest of the newest one."""
        return self.operations[-1].operation.digest

    def next(
        self, action: str = "rotate", *, signing: PrivateKey | None = None, control: PrivateKey | None = None
    ) -> SignedOperation:
        """The next operation, with a new signing key if not given; it is not in `operations` yet."""
        last = self.operations[-1].operation
        new = None if action == "revoke" else signing or PrivateKey.generate()
        mine = control or self.control
        following = Operation(
            action=action, seq=last.seq + 1, prev=last.digest, time=NOW, signing=new.public if new else None,
            control=(*last.control[:-1], mine.public),
        )  # fmt: skip
        signers = [self.control, *([new] if new else []), *([mine] if mine != self.control else [])]
        return operation.sign(following, signers)

    def change(self, action: str = "rotate", *, control: PrivateKey | None = None) -> SignedOperation:
        """Make the next operation and take its keys."""
        signing = PrivateKey.generate()
        signed = self.next(action, signing=signing, control=control)
        self.operations.append(signed)
        self.signing = self.signing if action == "revoke" else signing
        self.control = control or self.control
        return signed

    def announcement(
        self, id: str, seq: int, now: datetime = NOW, *, life: timedelta = timedelta(minutes=30),
        addresses: tuple[str, ...] = ("203.0.113.7:8043",),
    ) -> str:  # fmt: skip
        """A signed announcement."""
        said = Announcement(id, self.genesis, seq, addresses, encode(b"p" * 32), True, now, now + life)
        return announcement.sign(said, self.signing)
