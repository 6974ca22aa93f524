"""One question to a gateway by UDP and its answer, asked again while none comes. Owns no packet's meaning."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

from lib.nat.errors import GatewayError
from lib.nat.gateway import Gateway
from lib.nat.pcp import LONGEST

Answer = TypeVar("Answer")

MOST = 100
"""Datagrams that are looked at for one answer; who sends more of them that are none is not our gateway."""


def exchange(gateway: Gateway, request: bytes, read: Callable[[bytes], Answer | None]) -> Answer:
    """What `read` makes of the gateway's answer; what it returns None for is passed over.

    Raises: GatewayError when none comes, and what `read` raises.
    """
    try:
        with socket.socket(
            socket.AF_INET6 if gateway.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM
        ) as connection:
            connection.bind((gateway.source, 0))
            # Only what comes from the gateway's own address and port is let in.
            target = socket.getaddrinfo(gateway.address, gateway.port, type=socket.SOCK_DGRAM)[0][4]
            connection.connect(target)
            left = MOST
            for wait in gateway.waits:
                connection.send(request)
                until = time.monotonic() + wait
                while left and (rest := until - time.monotonic()) > 0:
                    connection.settimeout(rest)
                    try:
                        data = connection.recv(LONGEST + 1)
                    except TimeoutError:
                        break
                    left -= 1
                    answer = read(data)
                    if answer is not None:
                        return answer
    except ConnectionRefusedError as error:
        raise GatewayError(f"the gateway {gateway.address} does not offer it") from error
    except OSError as error:
        raise GatewayError(f"the gateway {gateway.address} cannot be reached: {error.strerror}") from error
    raise GatewayError(f"the gateway {gateway.address} does not answer")
