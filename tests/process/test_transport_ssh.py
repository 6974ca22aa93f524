"""What is SSH's own: whose host key is trusted, which key is offered, what the configuration says, jumps."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sshd_support
from sshd_support import Sshd, fingerprint, keygen, ssh_keygen
from support import unused_port

from deploy.transport import Settings, open_transport
from lib.errors import AmpzeroError, ConfigError, RefusedError, UnreachableError


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own: ~/.ssh is there, and no agent."""
    (tmp_path / "home/.ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


def trusted(sshd: Sshd, *, config: Path | None = None, known_hosts: Path | None = None,
            key: Path | None = None) -> Settings:  # fmt: skip
    """Settings that lead to `sshd`, but for what is given."""
    return Settings(config=config or Path(os.devnull), known_hosts=known_hosts or sshd.known_hosts(),
                    key=key or sshd.key, timeout=60)  # fmt: skip


def greeting(address: str, settings: Settings) -> str:
    """What a host says when it is asked to."""
    with open_transport(address, settings) as transport:
        return transport.run(["echo", "hello"], timeout=60).out.decode().strip()


def greet_at_once(addresses: list[str], settings: Settings) -> list[str]:
    """What these hosts say, or why they do not, asked from a thread each."""

    def ask(address: str) -> str:
        try:
            return greeting(address, settings)
        except AmpzeroError as error:
            return error.message

    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(ask, addresses))


def host(name: str, sshd: Sshd) -> str:
    """The lines of a configuration that lead to an sshd."""
    return f"Host {name}\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"


def refused(address: str, settings: Settings, kind: type[AmpzeroError] = UnreachableError) -> AmpzeroError:
    """The error of a host that is not reached."""
    with pytest.raises(kind) as caught:
        open_transport(address, settings)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


@contextmanager
def cable(port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that leads to `port` for one connection, and what cuts it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(("127.0.0.1", port)) as far,
    ):
        ends = [far]

        def carry(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(1 << 16):
                    sink.sendall(data)

        def connect() -> None:
            with suppress(OSError):
                near, _ = server.accept()
                ends.append(near)
                threading.Thread(target=carry, args=(near, far), daemon=True).start()
                carry(far, near)

        def cut() -> None:
            for end in ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=connect, daemon=True).start()
        yield server.getsockname()[1], cut
        cut()


class TestHostKey:
    def test_unknown_is_refused_and_the_command_of_the_hint_makes_it_known(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        known = tmp_path / "known hosts"
        error = refused(sshd.address, trusted(sshd, known_hosts=known), RefusedError)
        assert fingerprint(Path(f"{sshd.host_key}.pub")) in error.message
        assert not known.exists()
        subprocess.run(["sh", "-c", error.hint.rpartition("if it is the same: ")[2]], check=True)
        assert greeting(sshd.address, trusted(sshd, known_hosts=known)) == "hello"

    def test_changed_is_refused_with_both_fingerprints(self, sshd: Sshd, tmp_path: Path) -> None:
        other = keygen(tmp_path / "other")
        known = sshd.known_hosts(other)
        error = refused(sshd.address, trusted(sshd, known_hosts=known), RefusedError)
        for key in (sshd.host_key, other):
            assert fingerprint(Path(f"{key}.pub")) in error.message
        assert f"{known}:1" in error.message
        command = error.hint.rpartition("then: ")[2]
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
        assert "not known" in refused(sshd.address, trusted(sshd, known_hosts=known), RefusedError).message

    def test_another_type_of_key_than_the_known_one_is_a_change(self, sshd: Sshd, tmp_path: Path) -> None:
        known = sshd.known_hosts(keygen(tmp_path / "rsa", "-b", "2048", kind="rsa"))
        assert "changed" in refused(sshd.address, trusted(sshd, known_hosts=known), RefusedError).message

    def test_the_type_that_is_known_is_asked_for(self, tmp_path: Path) -> None:
        rsa = keygen(tmp_path / "rsa", "-b", "2048", kind="rsa")
        with Sshd(tmp_path / "two", f"HostKey {rsa}") as two:
            for key in (rsa, two.host_key):
                assert greeting(two.address, trusted(two, known_hosts=two.known_hosts(key))) == "hello"

    def test_hashed_names_are_known(self, sshd: Sshd) -> None:
        known = sshd.known_hosts()
        ssh_keygen("-H", "-f", known)
        assert "127.0.0.1" not in known.read_text()
        assert greeting(sshd.address, trusted(sshd, known_hosts=known)) == "hello"

    def test_a_revoked_key_is_refused(self, sshd: Sshd) -> None:
        known = sshd.known_hosts()
        known.write_text(f"{known.read_text()}@revoked * {Path(f'{sshd.host_key}.pub').read_text()}")
        assert "revoked" in refused(sshd.address, trusted(sshd, known_hosts=known), RefusedError).message

    @pytest.mark.parametrize("names, days, good", [
        ("127.0.0.1", "-1d:+1d", True), ("elsewhere", "-1d:+1d", False), ("127.0.0.1", "-3d:-2d", False),
    ])  # fmt: skip
    def test_a_host_certificate_is_good_for_its_names_and_its_time(
        self, tmp_path: Path, names: str, days: str, good: bool
    ) -> None:
        authority = keygen(tmp_path / "authority")
        server = Sshd(tmp_path / "sshd")
        ssh_keygen(
            "-q", "-s", authority, "-h", "-I", "host", "-n", names, "-V", days, f"{server.host_key}.pub"
        )
        known = tmp_path / "known"
        known.write_text(f"@cert-authority 127.0.0.* {Path(f'{authority}.pub').read_text()}")
        with Sshd(tmp_path / "sshd", f"HostCertificate {server.host_key}-cert.pub") as sshd:
            settings = trusted(sshd, known_hosts=known)
            if good:
                assert greeting(sshd.address, settings) == "hello"
            else:
                assert "certificate" in refused(sshd.address, settings, RefusedError).message

    def test_a_certificate_of_an_authority_that_is_not_known_is_refused(self, tmp_path: Path) -> None:
        known, used = keygen(tmp_path / "known"), keygen(tmp_path / "used")
        server = Sshd(tmp_path / "sshd")
        ssh_keygen("-q", "-s", used, "-h", "-I", "host", f"{server.host_key}.pub")
        lines = tmp_path / "known_hosts"
        lines.write_text(f"@cert-authority * {Path(f'{known}.pub').read_text()}")
        with Sshd(tmp_path / "sshd", f"HostCertificate {server.host_key}-cert.pub") as sshd:
            error = refused(sshd.address, trusted(sshd, known_hosts=lines), RefusedError)
            assert "authority that is not known" in error.message


class TestKey:
    def test_one_that_is_not_let_in_is_named(self, sshd: Sshd, tmp_path: Path) -> None:
        other = keygen(tmp_path / "other")
        error = refused(sshd.address, trusted(sshd, key=other))
        assert f"user {sshd.user} is not let in" in error.message
        assert fingerprint(Path(f"{other}.pub")) in error.message

    def test_a_wrong_user_is_named(self, sshd: Sshd) -> None:
        error = refused(f"nobody-of-this-name@127.0.0.1:{sshd.port}", trusted(sshd))
        assert "user nobody-of-this-name is not let in" in error.message

    def test_an_encrypted_one_without_an_agent_is_named_with_what_to_do(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        key = keygen(tmp_path / "encrypted", passphrase="secret")
        error = refused(sshd.address, trusted(sshd, key=key))
        assert str(key) in error.message and "encrypted" in error.message
        assert f"ssh-add {key}" in error.hint

    @pytest.mark.parametrize("beside", [True, False], ids=["with .pub", "without .pub"])
    def test_an_encrypted_one_is_taken_from_the_agent(
        self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
    ) -> None:
        key = tmp_path / "id"
        shutil.copy(sshd.key, key)
        shutil.copy(f"{sshd.key}.pub", f"{key}.pub")
        with sshd_support.agent(tmp_path, key) as socket_path:
            ssh_keygen("-p", "-q", "-P", "", "-N", "secret", "-f", key)
            if not beside:
                Path(f"{key}.pub").unlink()
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
            assert greeting(sshd.address, trusted(sshd, key=key)) == "hello"

    def test_the_agents_keys_are_tried_where_none_is_configured(
        self, sshd: Sshd, tmp_path: Path, home: Path
    ) -> None:
        (home / ".ssh/config").write_text(f"Host *\n  IdentityAgent {tmp_path / 'agent'}\n")
        with sshd_support.agent(tmp_path, keygen(tmp_path / "wrong"), sshd.key):
            assert greeting(sshd.address, Settings(known_hosts=sshd.known_hosts())) == "hello"

    def test_only_the_configured_one_is_offered(
        self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = keygen(tmp_path / "other")
        with sshd_support.agent(tmp_path, sshd.key) as socket_path:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
            error = refused(sshd.address, trusted(sshd, key=other))
        assert fingerprint(Path(f"{sshd.key}.pub")) not in error.message

    def test_the_usual_file_is_offered_where_nothing_is_configured(self, sshd: Sshd, home: Path) -> None:
        shutil.copy(sshd.key, home / ".ssh/id_ed25519")
        (home / ".ssh/known_hosts").write_text(sshd.known_hosts().read_text())
        assert greeting(sshd.address, Settings()) == "hello"

    def test_without_any_key_it_says_so(self, sshd: Sshd) -> None:
        assert "no key" in refused(sshd.address, Settings(known_hosts=sshd.known_hosts())).message

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    @pytest.mark.parametrize("way", ["file", "agent", "agent alone"])
    def test_a_certificate_lets_in_where_the_key_alone_does_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, way: str
    ) -> None:
        authority, key = keygen(tmp_path / "authority"), keygen(tmp_path / "user", kind=kind)
        with Sshd(tmp_path / "sshd", f"TrustedUserCAKeys {authority}.pub") as sshd:
            assert "not let in" in refused(sshd.address, trusted(sshd, key=key)).message
            ssh_keygen("-q", "-s", authority, "-I", "me", "-n", getpass.getuser(), f"{key}.pub")
            if way == "file":
                assert greeting(sshd.address, trusted(sshd, key=key)) == "hello"
                return
            with sshd_support.agent(tmp_path, key) as socket_path:
                monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
                settings = trusted(sshd, key=key)
                if way == "agent alone":
                    settings.key = None
                assert greeting(sshd.address, settings) == "hello"


class TestConfiguration:
    def test_the_users_configuration_is_kept_to(self, sshd: Sshd, home: Path) -> None:
        known = sshd.known_hosts()
        known.write_text(known.read_text().replace(sshd.name, f"[web-alias]:{sshd.port}"))
        (home / ".ssh/more").mkdir()
        (home / ".ssh/config").write_text(
            f"Include more/*.conf\nHost web*\n  User {sshd.user}\n  IdentityFile {sshd.key}\n"
            f"  UserKnownHostsFile {known}\n  IdentitiesOnly yes\n  Port 1\n"
        )
        (home / ".ssh/more/web.conf").write_text(
            f"Host web-1\n  HostName 127.0.0.1\n  Port {sshd.port}\n  HostKeyAlias web-alias\n"
        )
        assert greeting("web-1", Settings()) == "hello"

    def test_a_file_of_the_settings_stands_in_for_the_users(
        self, sshd: Sshd, home: Path, tmp_path: Path
    ) -> None:
        (home / ".ssh/config").write_text("Host *\n  User nobody-of-this-name\n  Port 1\n")
        config = tmp_path / "config"
        config.write_text(
            f"Host web\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"
            f"  UserKnownHostsFile {sshd.known_hosts()}\n  ConnectTimeout 20\n"
        )
        assert greeting("web", Settings(config=config)) == "hello"

    @pytest.mark.parametrize("text, message", [
        ("Include config\n", "includes itself"), ("Host web\n  ProxyCommand nc %h %p\n", "ProxyCommand"),
        ("Host web\n  Port ssh\n", "no number"), ("nonsense\n", "Unparsable"),
        ("Host web\n  ProxyJump db\nHost db\n  ProxyJump web\n", "in a circle"),
    ])  # fmt: skip
    def test_what_cannot_be_kept_to_is_said(self, home: Path, text: str, message: str) -> None:
        (home / ".ssh/config").write_text(text)
        assert message in refused("web", Settings(), ConfigError).message

    @pytest.mark.parametrize(
        "address", ["", "a b", "-oProxyCommand=x", "u@", "u@h:port", "u@h:", "[h", "a/b"]
    )
    def test_what_is_no_address_is_said(self, address: str) -> None:
        assert "not an address" in refused(address, Settings(), ConfigError).message


class TestJump:
    @pytest.mark.parametrize("chain", ["two", "one,two"])
    def test_through_two_hosts(self, sshd: Sshd, tmp_path: Path, chain: str) -> None:
        with Sshd(tmp_path / "one") as one, Sshd(tmp_path / "two") as two:
            known = tmp_path / "known"
            known.write_text("".join(each.known_hosts().read_text() for each in (one, two, sshd)))
            config = tmp_path / "config"
            config.write_text(
                host("one", one) + host("two", two) + ("" if "," in chain else "  ProxyJump one\n")
                + host("web", sshd) + f"  ProxyJump {chain}\n"
            )  # fmt: skip
            assert greeting("web", Settings(config=config, known_hosts=known)) == "hello"
            for each in (one, two):
                assert "Accepted publickey" in each.log.read_text()

    def test_a_jump_host_that_every_host_has_is_reached_without_itself(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        config = tmp_path / "config"
        config.write_text(host("jump", sshd) + "Host *\n  ProxyJump jump\n")
        assert greeting("jump", trusted(sshd, config=config)) == "hello"

    def test_a_fleet_shares_one_connection_which_ends_with_the_last(self, sshd: Sshd, tmp_path: Path) -> None:
        with Sshd(tmp_path / "jump") as jump:
            known = tmp_path / "known"
            known.write_text(jump.known_hosts().read_text() + sshd.known_hosts().read_text())
            config = tmp_path / "config"
            config.write_text(host("jump", jump) + host("web*", sshd) + "  ProxyJump jump\n")
            settings = Settings(config=config, known_hosts=known, timeout=60)
            with open_transport("web-x", settings):
                assert greet_at_once([f"web-{number}" for number in range(8)], settings) == ["hello"] * 8
                assert jump.log.read_text().count("Accepted publickey") == 1
            assert greeting("web-y", settings) == "hello"
            assert jump.log.read_text().count("Accepted publickey") == 2

    def test_what_the_jump_host_cannot_reach_is_said(self, sshd: Sshd, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.write_text(
            f"Host jump\n  HostName 127.0.0.1\n  Port {sshd.port}\nHost web\n  HostName 127.0.0.1\n"
            f"  Port {unused_port()}\n  ProxyJump jump\n"
        )
        assert "jump host cannot reach" in refused("web", trusted(sshd, config=config)).message


class TestUnreachable:
    def test_nothing_listens(self, sshd: Sshd) -> None:
        error = refused(f"127.0.0.1:{unused_port()}", trusted(sshd))
        assert "refuses the connection" in error.message and error.hint

    def test_a_name_without_an_address(self, sshd: Sshd) -> None:
        assert "has no address" in refused("no-such-host.invalid", trusted(sshd)).message

    def test_one_that_says_nothing(self, sshd: Sshd) -> None:
        settings = trusted(sshd)
        settings.timeout = 0.5
        with socket.create_server(("127.0.0.1", 0)) as silent:
            error = refused(f"127.0.0.1:{silent.getsockname()[1]}", settings)
        assert "no answer" in error.message

    def test_one_that_is_no_ssh_server(self, sshd: Sshd) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                while True:
                    try:
                        connection, _ = server.accept()
                    except OSError:
                        return
                    connection.close()

            threading.Thread(target=answer, daemon=True).start()
            error = refused(f"127.0.0.1:{server.getsockname()[1]}", trusted(sshd))
            server.shutdown(socket.SHUT_RDWR)
        assert "ends the connection before it says anything" in error.message

    def test_one_that_is_lost_while_a_program_runs(self, tmp_path: Path) -> None:
        with Sshd(tmp_path / "sshd") as sshd, cable(sshd.port) as (port, cut):
            settings = trusted(sshd, known_hosts=tmp_path / "known")
            (tmp_path / "known").write_text(sshd.known_hosts().read_text().replace(str(sshd.port), str(port)))
            with open_transport(f"{sshd.user}@127.0.0.1:{port}", settings) as transport:
                process = transport.start(["cat"], timeout=30)
                process.write(b"x", time.monotonic() + 60)
                assert process.read(1, time.monotonic() + 60) == b"x"
                cut()
                assert process.read(1, time.monotonic() + 60) == b""
                with pytest.raises(UnreachableError, match="connection was lost"):
                    process.wait(time.monotonic() + 60)
                with pytest.raises(UnreachableError, match="cannot start echo"):
                    transport.run(["echo"], timeout=30)

    def test_a_door_that_is_crowded_is_knocked_at_again(self, tmp_path: Path) -> None:
        with Sshd(tmp_path / "sshd", "MaxStartups 2:70:4") as sshd:
            settings = trusted(sshd)
            settings.timeout = 60
            assert greet_at_once([sshd.address] * 12, settings) == ["hello"] * 12
