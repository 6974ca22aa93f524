"""A lab: it is made, found again, and taken down. What a host can do is host.py's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType

from deploy.lab import disk, network, processes, record, tools
from deploy.lab.host import Host
from deploy.lab.login import Login
from deploy.lab.network import Network
from deploy.lab.record import FOLDER, Record
from lib.errors import MissingError, TakenError, UsageError
from lib.files import Lock, make_folder, storage_errors

DEFAULT_NAME = "lab"
MOST_HOSTS = network.capacity(next(network.PRIVATE.subnets(new_prefix=network.LARGE)))
"""As many as there are addresses in the largest subnet."""
MAKERS = 4
"""Disks that are made at a time: each waits for ssh-keygen."""


class Lab:
    """Hosts on this machine, with a network of their own.

    `Lab.make()` gives one that lives no longer than this process: take it down, or use it in `with`. After
    `keep()` it stays. `Lab.find()` gives one that is there.
    """

    def __init__(self, kept: Record, lock: Lock | None = None) -> None:
        self.record = kept
        self.name = kept.name
        self.login = Login(kept.folder / "ssh")
        subnet = IPv4Network(kept.subnet)
        self.network = Network(kept.name, subnet, kept.rtt, kept.loss)
        self.hosts: Sequence[Host] = [
            Host(name, address, kept.disks / name, self.network) for name, address in kept.hosts.items()
        ]
        self._lock = lock

    @classmethod
    def make(
        cls, name: str = DEFAULT_NAME, count: int = 3, *, subnet: str = "", rtt: float = 0, loss: float = 0,
        opt_size: int = 0,
    ) -> Lab:  # fmt: skip
        """Make a lab with `count` hosts and boot them all; what a crash left of other labs is removed first.

        `subnet` is chosen when empty; `rtt` is in seconds, `loss` a share (0..1), `opt_size` in bytes (0: no
        limit).

        Raises: UsageError, TakenError, MissingError, NotReadyError, StorageError, AmpzeroError.
        Nothing is left behind then.
        """
        tools.check()
        record.check_name(name)
        if not 1 <= count <= MOST_HOSTS:
            raise UsageError(f"a lab has 1 to {MOST_HOSTS} hosts, not {count}", "ampzero lab up 3")
        with record.changing():
            for other in record.names():
                if record.is_dead(other):
                    sweep(other)
            if (FOLDER / name).exists():
                raise TakenError(f"there is a lab {name!r} already", f"ampzero lab down {name}")
            sweep(name)  # namespaces may be left where somebody removed the folder
            chosen = _subnet(subnet, count)
            hosts = {
                f"host-{number}": str(network.address_of(chosen, number)) for number in range(1, count + 1)
            }
            lab = cls(Record(name, str(chosen), hosts, rtt, loss, opt_size))
            make_folder(lab.record.folder, 0o755)
            lab._lock = lab.record.lock
            if not lab._lock.acquire():
                raise TakenError(f"somebody holds {lab._lock.path}")
            lab.record.write()
        try:
            lab._build()
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Lab:
        """The lab `name`, which another process made.

        Raises: UsageError, MissingError.
        """
        found = record.read(record.check_name(name))
        if found is None:
            raise missing(name)
        return cls(found)

    def host(self, name: str) -> Host:
        """The host `name`, or with a number `host-NUMBER`.

        Raises: UsageError.
        """
        for host in self.hosts:
            if name in (host.name, host.name.removeprefix("host-"), host.address):
                return host
        raise UsageError(f"lab {self.name!r} has no host {name!r}", f"host-1 to host-{len(self.hosts)}")

    def running(self) -> set[str]:
        """The names of the hosts that have power."""
        found = processes.inside(host.namespace for host in self.hosts)
        return {host.name for host in self.hosts if processes.first(found.get(host.namespace, []))}

    def keep(self) -> None:
        """Let it stay when this process ends.

        Raises: TakenError, StorageError.
        """
        with record.changing():  # nobody shall look when it is neither kept nor held
            self.record.keep()
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def down(self) -> None:
        """End all hosts and remove all that was made; harmless when it is done already.

        Raises: TakenError when it belongs to another process which lives, LeftoverError, StorageError,
            AmpzeroError.
        """
        if self._lock is None:
            if self.record.folder.exists():
                take_down(self.name)
            return
        with record.changing():
            sweep(self.name)
        self._lock.release()
        self._lock = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:  # else it was told to stay
            self.down()

    def _build(self) -> None:
        make_folder(self.record.disks, 0o700)
        # Closed to others: a user of the machine may have the number of a host's user.
        tools.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(self.record.disks)])
        self.network.make()
        authorized = self.login.make_key()

        def make_disk(host: Host) -> str:
            return disk.make(host.folder, host.name, self.record.hosts, authorized, self.record.opt_size)

        with ThreadPoolExecutor(MAKERS) as pool:
            keys = list(pool.map(make_disk, self.hosts))
        self.login.describe(self.record.hosts, dict(zip(self.record.hosts, keys, strict=True)))
        self.network.plug(self.record.hosts)
        started = [(host, host.power_on()) for host in self.hosts]
        for host, word in started:
            host.wait(word)


def take_down(name: str) -> str:
    """Remove the lab `name`, or what a crash left of it; its name.

    Raises: UsageError, MissingError, TakenError, LeftoverError, StorageError, AmpzeroError.
    """
    tools.check_rights()
    record.check_name(name)
    lock = Lock(FOLDER / name / "lock")
    with record.changing():
        if not (FOLDER / name).exists() and not network.namespaces(name):
            raise missing(name)
        if lock.is_held():
            raise TakenError(
                f"lab {name!r} belongs to process {lock.holder()}, which runs", "end that one first"
            )
        sweep(name)
    return name


def take_down_all() -> list[str]:
    """Remove all labs that belong to no living process; their names.

    Raises: LeftoverError, StorageError, AmpzeroError.
    """
    tools.check_rights()
    with record.changing():
        there = sorted({*record.names(), *network.labs()})
        free = [name for name in there if not Lock(FOLDER / name / "lock").is_held()]
        for name in free:
            sweep(name)
    return free


def missing(name: str) -> MissingError:
    """The error about a lab that is not there."""
    there = ", ".join(record.names())
    return MissingError(f"there is no lab {name!r}", f"there is: {there}" if there else "ampzero lab up 3")


def _subnet(asked: str, count: int) -> IPv4Network:
    """The subnet that was asked for, or a free one. Raises: UsageError, TakenError, AmpzeroError."""
    if not asked:
        return network.choose_subnet(count, record.subnets())
    try:
        subnet = IPv4Network(asked)
    except ValueError as error:
        raise UsageError(
            f"{asked[:40]!r} is no subnet", f"as {network.PRIVATE[0]}/{network.SMALL}"
        ) from error
    if network.capacity(subnet) < count:
        raise UsageError(
            f"{subnet} has no room for {count} hosts", "leave the subnet out: one that suits is chosen"
        )
    if network.is_used(subnet, record.subnets()):
        raise TakenError(f"{subnet} is in use on this machine", "leave the subnet out: a free one is chosen")
    return subnet


def sweep(name: str) -> None:
    """End and remove whatever there is of the lab `name`; the caller holds record.changing().

    Raises: LeftoverError, StorageError, AmpzeroError.
    """
    folder = FOLDER / name
    namespaces = network.namespaces(name)
    processes.kill_all(namespaces)
    network.remove(name)
    for mount in _mounts(folder):
        tools.run(["umount", "--lazy", mount])
    if folder.exists():
        with storage_errors(folder):
            shutil.rmtree(folder)


def _mounts(folder: Path) -> list[str]:
    """What is mounted below `folder`, the innermost first."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{folder}/")][::-1]
