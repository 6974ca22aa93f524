"""Every frame that a machine sends, caught at the other end of its cable."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nat_support import House, find

CAPTURE = """
import select, socket, struct, sys
ALL = 0x0003  # ETH_P_ALL of linux/if_ether.h
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
s.bind(("inside", ALL))
out, end = sys.stdout.buffer, int(sys.argv[1])
out.write(struct.pack("!I", 0))
out.flush()
while True:
    readable, _, _ = select.select([s, end], [], [])
    if s in readable:
        data, sender = s.recvfrom(65535)
        if sender[2] != socket.PACKET_OUTGOING:
            out.write(struct.pack("!I", len(data)) + data)
            out.flush()
    else:
        break
"""
"""Runs in the router's namespace: each frame after its length, and a length of 0 when it has begun."""


@contextmanager
def captured(where: House) -> Iterator[list[bytes]]:
    """The frames that come to the router from the machine in the house; complete when it is left."""
    frames: list[bytes] = []
    ready = threading.Event()
    end, ours = os.pipe()
    words = [find("ip"), "netns", "exec", f"{where.name}.router", sys.executable, "-c", CAPTURE, str(end)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, pass_fds=[end])
    os.close(end)
    stream = process.stdout
    assert stream is not None

    def read() -> None:
        while head := stream.read(4):
            (size,) = struct.unpack("!I", head)
            if size:
                frames.append(stream.read(size))
            else:
                ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(60)
        yield frames
    finally:
        os.close(ours)
        process.wait(60)
        reader.join(60)
        stream.close()
