"""From an instance and its deployment.yaml to a coordinator that can reach the hosts and sign."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from deploy import python
from deploy.channel import Channel
from deploy.coordinator import Coordinator
from deploy.environment import Environment, Host
from deploy.fleet import Caller, Opener
from deploy.manifest import NAMESPACE
from deploy.progress import Progress
from deploy.settings import HostSettings
from deploy.transport import Settings, open_transport
from deploy.transport.usercertificate import UserCertificates
from keys import keyfile
from keys.identities import load_identities
from keys.keyfile import PrivateKey
from keys.ssh import signature as sshsig
from lib.assembly import choose
from lib.duration import seconds
from lib.errors import AmpzeroError, ConfigError
from lib.files import make_folder
from lib.instance import Instance
from lib.kinds import kind_of
from lib.services import SERVICES

FURTHER = ("zerodata", "logstore")
"""Kinds of services that run only on the hosts which deployment.yaml names for them."""
KEYS = "ampnode"
"""The instance's folder of keys."""


class Signer:
    """The instance's user key, read when the first signature is wanted; `ask` gives its passphrase."""

    def __init__(self, instance: Instance, ask: Callable[[Path], str]) -> None:
        self._folder = instance.directory / KEYS
        self._ask = ask
        self._key: PrivateKey | None = None

    @property
    def key(self) -> PrivateKey:
        """The private key.

        Raises: MissingError, PassphraseError, TrustError, StorageError, AmpzeroError.
        """
        if self._key is None:
            path = load_identities(self._folder).path("user", "private")
            encrypted = keyfile.header(keyfile.read(path)).encrypted
            self._key = keyfile.load(path, self._ask(path) if encrypted else "")
        return self._key

    def read(self) -> None:
        """Read the key now.

        Raises: as `key`.
        """
        _ = self.key

    def sign(self, message: bytes) -> str:
        """The armored signature that hosts believe."""
        return sshsig.sign(self.key, message, NAMESPACE)

    def trusts(self, message: bytes, signature: str) -> bool:
        """Whether `signature` on `message` is this key's."""
        return sshsig.verifies(self.key.public, message, signature, NAMESPACE)

    def certify(self, public: str, login: str) -> str:
        """A certificate of this key for the key `public`, to log in as `login` within minutes."""
        from keys.ssh.certificate import user_certificate

        id = load_identities(self._folder).user_id
        return user_certificate(self.key, public, [login], f"{id} deploy").line

    def allowed(self) -> str:
        """The line that tells a host to believe this key."""
        identities = load_identities(self._folder)
        return sshsig.allowed_signer(identities.user_id, self.key, NAMESPACE)


def ssh_settings(environment: Environment, signer: Signer) -> Settings:
    """How the hosts of the environment are reached; relative files are beside deployment.yaml."""
    ssh = environment.ssh

    def path(given: str | None) -> Path | None:
        return (environment.file.parent / Path(given).expanduser()).resolve() if given else None

    return Settings(
        config=path(ssh.config), known_hosts=path(ssh.known_hosts), key=path(ssh.key),
        timeout=seconds(ssh.connect_timeout),
        certificates=UserCertificates(signer.certify) if ssh.certificate else None,
    )  # fmt: skip


def opener(environment: Environment, signer: Signer, progress: Progress, *, as_root: bool = False) -> Opener:
    """Opens the channel to the agent of a host; `as_root` for what only root may do: it brings Python."""
    settings = ssh_settings(environment, signer)

    def begin(host: Host) -> Caller:
        try:
            transport = open_transport(host.address, settings)
        except AmpzeroError as error:
            if not error.message.startswith(host.name):
                # It knows the address only; users know the host by its name.
                error.message = f"{host.name}: {error.message}"
            raise
        if as_root:
            try:
                python.provide(transport, host.name, lambda line: progress.output(host.name, line))
            except AmpzeroError:
                transport.close()
                raise
        return Channel.open(transport, environment.root, name=host.name, as_root=as_root)

    return begin


def needed_tools(instance: Instance) -> list[str]:
    """The programs that a host must have for the instance's services."""
    chosen = choose(instance, server=True)
    names = [program.name for name, config in chosen.items()
             for program in SERVICES[kind_of(name, config)].programs]  # fmt: skip
    return list(dict.fromkeys(names))


def cache_folder(instance: Instance, base: Path) -> Path:
    """The coordinator's own folder for this instance below the user's cache folder `base`, made (0700).

    Raises: StorageError.
    """
    digest = hashlib.sha256(str(instance.directory).encode()).hexdigest()[:8]
    return make_folder(base / "deploy" / f"{instance.name}-{digest}", 0o700)


def _check_services(instance: Instance, environment: Environment) -> None:
    kinds = {kind_of(name, config) for name, config in instance.config.services.items()}
    if environment.keyspace is not None and "keyspace" not in kinds:
        raise ConfigError(
            f"{environment.file.name} names the keyspace's hosts, and {instance.name} has no keyspace",
            f"add `keyspace: {{}}` to services in {instance.config_file}",
        )
    for name in environment.services:
        service = instance.config.services.get(name)
        if service is None or kind_of(name, service) not in FURTHER:
            what = (
                f"{instance.name} has no service {name!r}" if service is None else f"{name!r} runs elsewise"
            )
            raise ConfigError(
                f"{environment.file.name}: services: {what}",
                f"some hosts alone may run {' and '.join(FURTHER)}",
            )


def open_coordinator(
    instance: Instance, environment: Environment, *, signer: Signer, progress: Progress, typed: str,
    folder: Path, data: Path, as_root: bool = False,
) -> Coordinator:  # fmt: skip
    """The coordinator; nothing is connected. `folder` is for what can be made again, `data` for what is kept.

    Raises: ConfigError where amprun.yaml does not have what the environment wants.
    """
    _check_services(instance, environment)
    begin = opener(environment, signer, progress, as_root=as_root)
    return Coordinator(
        instance, environment, opener=begin, sign=signer.sign, trusts=signer.trusts, folder=folder,
        progress=progress, typed=typed, tools=needed_tools(instance),
        settings=HostSettings(environment, data),
    )  # fmt: skip
