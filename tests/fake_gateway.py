"""A gateway on the loopback with the quirks of real ones: PCP and NAT-PMP by UDP, UPnP by HTTP and SOAP.

It speaks to whoever asks; what it does is set by its fields, also while it runs.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address

from lib.nat.gateway import Gateway

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DESCRIPTION = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList><service>
<serviceType>{SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL><eventSubURL>/event</eventSubURL>
</service></serviceList></device></deviceList></device></deviceList></device></root>"""
ENVELOPE = (
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>{}</s:Body></s:Envelope>'
)


@dataclass
class Entry:
    """A mapping in the table; `lease` 0 has no end, `nonce` is PCP's."""

    address: str
    port: int
    description: str = ""
    lease: int = 0
    nonce: bytes = b""


@dataclass
class FakeGateway:
    """The state of the gateway, and its quirks."""

    address: str = "5.5.5.5"
    pcp: bool = True
    natpmp: bool = True
    table: dict[int, Entry] = field(default_factory=dict)
    booted: float = field(default_factory=time.monotonic)
    result: int = 0
    """The result of PCP and NAT-PMP requests for a mapping."""
    longest: int = 86400
    """Seconds of the longest lease by UDP."""
    error: int = 0
    """UPnP's answer to a mapping with a lease: 725 or 402."""
    refused: set[int] = field(default_factory=set)
    """External ports to which UPnP's answer is 718."""
    everything_refused: bool = False
    lies: bool = False
    """Says that it has mapped by UPnP, and has not."""
    takes_over: bool = False
    """Maps by UPnP, and another machine's mapping is what stands there then."""
    forgets_descriptions: bool = False
    garbage: bytes = b""
    """What is sent in place of every answer by UDP, and as the body of every answer by HTTP."""
    before: list[bytes] = field(default_factory=list)
    """Datagrams that are sent before each answer by UDP."""
    delay: float = 0.0
    """Seconds before each answer by HTTP."""
    asked: list[tuple[str, int]] = field(default_factory=list)
    """(what, external port) of every request, in order."""
    gateway: Gateway = field(default_factory=lambda: Gateway("127.0.0.1", "127.0.0.1"))

    def restart(self) -> None:
        """Lose everything but the address."""
        self.table.clear()
        self.booted = time.monotonic()

    def count(self, what: str) -> int:
        """How often that was asked for."""
        return sum(name == what for name, _ in self.asked)

    # --- UDP ------------------------------------------------------------------------------------------------

    def answer(self, data: bytes) -> bytes | None:
        """What goes back for a datagram."""
        epoch = int(time.monotonic() - self.booted)
        if data[:1] == b"\x02":
            return self._pcp(data, epoch) if self.pcp else bytes([0, data[1] | 0x80, 0, 1]) + b"\0" * 4
        if data[:1] == b"\0" and self.natpmp:
            return self._natpmp(data, epoch)
        return None

    def _natpmp(self, data: bytes, epoch: int) -> bytes:
        if data[1] == 0:
            self.asked.append(("address", 0))
            return struct.pack("!BBHI4s", 0, 128, 0, epoch, IPv4Address(self.address).packed)
        inner, outer, lifetime = struct.unpack("!4xHHI", data)
        self.asked.append(("natpmp", outer if lifetime else -inner))
        if self.result:
            return struct.pack("!BBHIHHI", 0, 130, self.result, epoch, inner, 0, 0)
        outer, lifetime = self._granted("natpmp", inner, outer, lifetime)
        return struct.pack("!BBHIHHI", 0, 130, 0, epoch, inner, outer, lifetime)

    def _pcp(self, data: bytes, epoch: int) -> bytes:
        head = struct.pack("!BBBBII12x", 2, 0x80 | data[1], 0, self.result if data[1] else 0, 0, epoch)
        if data[1] == 0:
            self.asked.append(("announce", 0))
            return head
        lifetime = struct.unpack_from("!I", data, 4)[0]
        nonce, kind, inner, outer = struct.unpack_from("!12sB3xHH", data, 24)
        self.asked.append((f"pcp-{'tcp' if kind == 6 else 'udp'}", outer if lifetime else -inner))
        outside = b"\0" * 10 + b"\xff\xff" + IPv4Address(self.address).packed
        if self.result:
            return head + struct.pack("!12sB3xHH16s", nonce, kind, inner, 0, outside)
        found = next((e for e in self.table.values() if e.port == inner and e.nonce), None)
        if kind == 6 and found and found.nonce != nonce:
            head = struct.pack("!BBBBII12x", 2, 0x81, 0, 2, 0, epoch)
        elif kind == 6:
            outer, lifetime = self._granted("pcp", inner, outer, lifetime, nonce)
        head = head[:4] + struct.pack("!I", lifetime) + head[8:]
        return head + struct.pack("!12sB3xHH16s", nonce, kind, inner, outer or 1, outside)

    def _granted(
        self, what: str, inner: int, outer: int, lifetime: int, nonce: bytes = b""
    ) -> tuple[int, int]:
        """Make or remove a mapping: the same one as before, or else the next port that is free."""
        mine = next((p for p, e in self.table.items() if (e.address, e.port) == ("127.0.0.1", inner)), 0)
        if not lifetime:
            self.table.pop(mine, None)
            return 0, 0
        outer = mine or outer
        while outer in self.table and outer != mine:
            outer += 1
        lease = min(lifetime, self.longest)
        self.table[outer] = Entry("127.0.0.1", inner, what, lease, nonce)
        return outer, lease

    # --- UPnP -----------------------------------------------------------------------------------------------

    def act(self, action: str, body: str) -> tuple[int, str]:
        """HTTP status and body for a SOAP action."""
        port = int(_value(body, "NewExternalPort") or 0) % 65536  # as real ones do with 70000
        self.asked.append((action, port))
        if action == "GetExternalIPAddress":
            return self._done(action, NewExternalIPAddress=self.address)
        if action == "GetStatusInfo":
            return self._done(
                action, NewConnectionStatus="Connected", NewLastConnectionError="ERROR_NONE", NewUptime="9"
            )
        if action == "GetSpecificPortMappingEntry":
            entry = self.table.get(port)
            if entry is None:
                return _failed(714)
            text = "" if self.forgets_descriptions else entry.description
            return self._done(
                action, NewInternalPort=entry.port, NewInternalClient=entry.address, NewEnabled=1,
                NewPortMappingDescription=text, NewLeaseDuration=entry.lease,
            )  # fmt: skip
        if action == "DeletePortMapping":
            return self._done(action) if self.table.pop(port, None) else _failed(714)
        if action == "AddPortMapping":
            return self._add(action, port, body)
        return _failed(401)

    def _add(self, action: str, port: int, body: str) -> tuple[int, str]:
        lease = int(_value(body, "NewLeaseDuration") or 0)
        if lease and self.error:
            return _failed(self.error)
        if port in self.refused or self.everything_refused:
            return _failed(718)
        new = Entry(
            _value(body, "NewInternalClient"), int(_value(body, "NewInternalPort")),
            _value(body, "NewPortMappingDescription"), lease,
        )  # fmt: skip
        if not self.lies:
            self.table[port] = Entry("127.0.0.77", 1, "other") if self.takes_over else new
        return self._done(action)

    def _done(self, action: str, **values: object) -> tuple[int, str]:
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
        return 200, ENVELOPE.format(f'<u:{action}Response xmlns:u="{SERVICE}">{inner}</u:{action}Response>')


def _failed(code: int) -> tuple[int, str]:
    fault = (
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
        f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
        "<errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
    )
    return 500, ENVELOPE.format(fault)


def _value(body: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", body)
    return found[1] if found else ""


@contextmanager
def serving(fake: FakeGateway, *, udp: bool = True, upnp: bool = True) -> Iterator[FakeGateway]:
    """`fake` answering on ports of the loopback, with `fake.gateway` leading there."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    threads = [
        threading.Thread(target=_receive, args=(receiver, fake, udp)),
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}),
    ]
    # Where there is to be no UPnP its description is not; a search would leave the loopback.
    url = f"http://127.0.0.1:{server.server_address[1]}/{'description.xml' if upnp else 'nothing.xml'}"
    fake.gateway = Gateway("127.0.0.1", "127.0.0.1", "lo", receiver.getsockname()[1], url, (0.1, 0.3))
    for thread in threads:
        thread.start()
    try:
        yield fake
    finally:
        _wake(receiver)
        server.shutdown()
        for thread in threads:
            thread.join(60)
        server.server_close()
        receiver.close()


def _wake(receiver: socket.socket) -> None:
    """An empty datagram ends the receiver."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"", receiver.getsockname())


def _receive(receiver: socket.socket, fake: FakeGateway, answers: bool) -> None:
    while True:
        data, sender = receiver.recvfrom(2048)
        if not data:
            return
        answer = fake.garbage or fake.answer(data) if answers else None
        if answer is not None:
            for one in (*fake.before, answer):
                receiver.sendto(one, sender)


def _handler(fake: FakeGateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/description.xml":
                self._send(200, DESCRIPTION)
            else:
                self._send(404, "")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            action = self.headers["SOAPAction"].strip('"').rpartition("#")[2]
            self._send(*fake.act(action, body))

        def _send(self, status: int, body: str) -> None:
            time.sleep(fake.delay)
            data = fake.garbage or body.encode()
            self.send_response(status)
            self.send_header("Content-Type", 'text/xml; charset="utf-8"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
