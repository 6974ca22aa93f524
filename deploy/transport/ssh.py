"""A host over SSH, by paramiko: one connection, a channel for each program."""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from deploy.transport.base import CHUNK, KILLED, TAIL, Process, Transport, left
from deploy.transport.connection import Connection, connect
from deploy.transport.settings import Settings
from deploy.transport.target import resolve
from lib.errors import UnreachableError


class SshTransport(Transport):
    """A connection to `address`. It is made at once.

    Raises: UnreachableError; RefusedError for its host key; ConfigError.
    """

    def __init__(self, address: str, settings: Settings) -> None:
        # It prints what it also raises.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        target = resolve(address, settings)
        self.address = target.name
        self._connection: Connection = connect(target, settings)
        self._processes: list[SshProcess] = []

    def start(self, argv: Sequence[str], *, timeout: float = 15.0) -> SshProcess:
        """Start a program by the user's shell, which sshd takes whatever is asked for."""
        transport = self._connection.transport
        try:
            with _bounded(transport, timeout):
                channel = transport.open_session(timeout=timeout)
                channel.exec_command(f"exec {shlex.join(argv)}")
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(f"{self.address}: cannot start {argv[0]}: {error}") from error
        process = SshProcess(channel, self.address)
        self._processes = [*(one for one in self._processes if not one.closed), process]
        return process

    def close(self) -> None:
        """Let go of everything that was started, and end the connection."""
        for process in self._processes:
            process.close()
        self._connection.close()


class SshProcess(Process):
    """A channel; a thread of its own keeps the last of the error output, else that would fill the window."""

    def __init__(self, channel: paramiko.Channel, address: str) -> None:
        self._channel = channel
        self._address = address
        self._tail = b""
        self._reader = threading.Thread(target=self._keep_tail, daemon=True)
        self._reader.start()

    @property
    def closed(self) -> bool:
        """Whether it was let go or has ended."""
        return self._channel.closed

    def write(self, data: bytes, deadline: float) -> None:
        """Give it all of `data`."""
        sent = 0
        while sent < len(data):
            self._channel.settimeout(left(deadline))
            try:
                sent += self._channel.send(data[sent : sent + CHUNK])
            except TimeoutError:
                raise
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise BrokenPipeError from error

    def end_input(self) -> None:
        """Send the end of its input."""
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def read(self, size: int, deadline: float) -> bytes:
        """What is there, or comes before the deadline."""
        self._channel.settimeout(left(deadline))
        return self._channel.recv(size)

    def tail(self) -> str:
        """The last of its error output."""
        if self._channel.exit_status_ready():
            self._reader.join(1)  # what it wrote last may still be on its way
        return self._tail.decode(errors="replace")

    def wait(self, deadline: float) -> int:
        """Its exit code, which comes after its output."""
        if not self._channel.status_event.wait(left(deadline)):
            raise TimeoutError
        if self._channel.exit_status == -1 and not self._channel.get_transport().is_active():
            raise UnreachableError(f"{self._address}: the connection was lost")
        return KILLED if self._channel.exit_status == -1 else self._channel.exit_status

    def kill(self) -> None:
        """Ask sshd to kill its process group (RFC 4254, 6.9)."""
        request = paramiko.Message()
        request.add_byte(cMSG_CHANNEL_REQUEST)
        request.add_int(self._channel.remote_chanid)
        request.add_string("signal")
        request.add_boolean(False)
        request.add_string("KILL")
        with suppress(OSError, EOFError, paramiko.SSHException):
            if not self._channel.closed:
                # paramiko has no public way to send this request.
                self._channel.get_transport()._send_user_message(request)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the channel: sshd closes the program's pipes."""
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()

    def _keep_tail(self) -> None:
        while True:
            try:
                part = self._channel.recv_stderr(TAIL)
            except TimeoutError:
                time.sleep(0.01)  # the deadline is another's; it may be over for a while
                continue
            if not part:
                return
            self._tail = (self._tail + part)[-TAIL:]


@contextmanager
def _bounded(transport: paramiko.Transport, seconds: float) -> Iterator[None]:
    """End the connection where this takes longer: paramiko waits for the answer to `exec` without an end."""
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
