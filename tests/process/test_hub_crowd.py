"""A thousand registrations at once, and a disk that is full: nobody loses anything, and no id is burnt."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from disk_support import on_small_disk
from hub_support import LIFTED, serving
from identity_support import Party

MANY = 1000
ROUNDS = 200
"""Times to come again, at most: how many it takes are those that a slow hub sends away."""


async def send(port: int, note: bytes) -> tuple[int, float, bytes]:
    """One registration over a connection of its own: status, Retry-After, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = (
            f"POST /v1/ids HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: {len(note)}\r\n\r\n"
        )
        writer.write(head.encode() + note)
        raw = await reader.read()
    finally:
        writer.close()
    top, _, body = raw.partition(b"\r\n\r\n")
    after = top.lower().partition(b"retry-after: ")[2].split(b"\r")[0]
    return int(top.split(b" ")[1]), float(after or 0), body


async def crowd(port: int, notes: dict[str, bytes]) -> tuple[dict[str, str], Counter[int]]:
    """All of `notes` (by genesis) at once, and again those that were sent away: the ids, and the statuses."""
    ids: dict[str, str] = {}
    statuses: Counter[int] = Counter()
    for _ in range(ROUNDS):
        waiting = [genesis for genesis in notes if genesis not in ids]
        if not waiting:
            break
        answers = await asyncio.gather(*(send(port, notes[genesis]) for genesis in waiting))
        for genesis, (status, after, body) in zip(waiting, answers, strict=True):
            statuses[status] += 1
            if status == 200:
                ids[genesis] = json.loads(body)["id"]
            else:
                assert status in (429, 503), body
                assert after >= 1, "it says when to come again"
                assert json.loads(body)["error"]
    return ids, statuses


def test_a_thousand_registrations_at_once(tmp_path: Path) -> None:
    notes = {party.genesis: str(party.first.note).encode() for party in (Party() for _ in range(MANY))}
    with serving(tmp_path / "hub", *LIFTED, "--quota", "registrations=0") as hub:
        ids, statuses = asyncio.run(crowd(hub.port, notes))
        assert sorted(ids.values(), key=lambda id: int(id[5:])) == [f"user-{n}" for n in range(1, MANY + 1)]
        again, _ = asyncio.run(crowd(hub.port, notes))
        assert again == ids, "the same operations, the same ids"
        assert hub.client().log.look().size == MANY
    assert statuses[200] == MANY


def test_a_thousand_from_one_network_are_held_back_and_none_is_lost(tmp_path: Path) -> None:
    notes = [str(Party().first.note).encode() for _ in range(200)]

    async def all_at_once(port: int) -> list[tuple[int, float, bytes]]:
        return list(await asyncio.gather(*(send(port, note) for note in notes)))

    with serving(tmp_path / "hub") as hub:
        answers = asyncio.run(all_at_once(hub.port))
        taken = Counter(status for status, _, _ in answers)
        assert taken[200] >= 60
        assert taken[200] + taken[429] + taken[503] == len(notes)
        assert taken[429] > 100
        assert hub.client().log.look().size == taken[200], "who was sent away has used up nothing"


FULL = """
from pathlib import Path
from disk_support import fill
from hub_support import serving, LIFTED
from identity_support import Party
from keys import statement
from keys.errors import BusyError
from lib.errors import UnreachableError
disk = Path(sys.argv[1])
with serving(disk / "hub", *LIFTED) as hub:
    client = hub.client()
    def number(party):
        return int(statement.parse(client.register(party.first))[0].id[5:])
    assert number(Party()) == 1
    filler = fill(disk, step=1024)
    waiting, good = [], 1
    for _ in range(40):
        party = Party()
        try:
            assert number(party) == good + 1
            good += 1
        except BusyError as error:
            assert error.retry_after >= 1, error
            waiting.append(party)
    assert waiting, "the disk was never full"
    assert client.statement("user-1"), "look-ups go on"
    filler.unlink()
    assert [number(party) for party in waiting] == list(range(good + 1, good + 1 + len(waiting)))
    client.prove(f"user-{good + len(waiting)}")
print(len(waiting), "waited")
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_at_the_hub(tmp_path: Path) -> None:
    [said] = on_small_disk(tmp_path, "12m", FULL)
    assert said.endswith("waited")
