"""Redis: PING and INFO over RESP2 (redis.io/docs/latest/develop/reference/protocol-spec, commands/info).

Ready when it answers PING; not while it loads its data.
"""

from __future__ import annotations

import asyncio

from lib.supervisor.domain import amount
from lib.supervisor.probes import ProbeError, connect

SECTIONS = ("replication", "memory", "persistence")
"""One command each: INFO takes several only from Redis 7."""
BULK_MAX = 64 * 1024
LINE_MAX = 1024


async def ask(target: str) -> str:
    """Role, memory, and what it is doing: `master, 1.2 MB, 2 replicas`.

    Raises: ProbeError, OSError, ValueError, EOFError.
    """
    reader, writer = await connect(target)
    try:
        writer.write(
            b"".join(b"%s\r\n" % word.encode() for word in ("PING", *(f"INFO {s}" for s in SECTIONS)))
        )
        pong = await _answer(reader)
        facts: dict[str, str] = {}
        for _ in SECTIONS:
            answer = await _answer(reader)
            if not answer.startswith("-"):
                lines = (line.partition(":") for line in answer.split("\r\n"))
                facts.update({name: value for name, _, value in lines if value})
    finally:
        writer.close()
    if pong.startswith(("-NOAUTH", "-NOPERM")):
        return "answers, asks for a password"
    if pong.startswith("-LOADING") or facts.get("loading") == "1":
        done = facts.get("loading_loaded_perc", "")
        raise ProbeError(f"redis loads its data{f': {float(done):.0f} %' if done else ''}")
    if pong != "+PONG":
        raise ProbeError(f"redis answered {pong[:100].strip()!r}")
    return ", ".join(_words(facts)) or "answers"


def _words(facts: dict[str, str]) -> list[str]:
    words = []
    if facts.get("role") == "slave":
        link = facts.get("master_link_status", "?")
        words.append(f"replica of {facts.get('master_host')}:{facts.get('master_port')} (link {link})")
    elif facts.get("role"):
        words.append(facts["role"])
    if facts.get("used_memory", "").isdecimal():
        limit = facts.get("maxmemory", "0")
        of = f" of {amount(int(limit))}" if limit.isdecimal() and int(limit) else ""
        words.append(f"{amount(int(facts['used_memory']))}{of}")
    replicas = facts.get("connected_slaves", "0")
    if replicas != "0":
        words.append(f"{replicas} replica{'' if replicas == '1' else 's'}")
    if facts.get("rdb_last_bgsave_status", "ok") != "ok":
        words.append("the last snapshot failed")
    if facts.get("aof_last_write_status", "ok") != "ok":
        words.append("the last write to the append-only file failed")
    return words


async def _answer(reader: asyncio.StreamReader) -> str:
    """A simple string or an error with its first character, or the text of a bulk string.

    Raises: ProbeError, OSError, ValueError, EOFError.
    """
    line = (await reader.readuntil(b"\r\n"))[:-2]
    if len(line) > LINE_MAX or line[:1] not in (b"+", b"-", b"$"):
        raise ProbeError("it does not speak Redis's protocol")
    if line[:1] != b"$":
        return line.decode(errors="replace")
    size = int(line[1:])
    if not 0 <= size <= BULK_MAX:
        raise ProbeError(f"redis sent an answer of {size} bytes")
    return (await reader.readexactly(size + 2))[:-2].decode(errors="replace")
