"""A blob goes from host to host over the hosts' own network, by agents that gave up being root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent_support import NAMESPACE, Site
from lab_support import MakeLab

from deploy.agent import facts
from deploy.channel import Channel
from deploy.lab import Lab
from deploy.relaycertificate import RelayCertificate, make
from deploy.transport import Settings, open_transport
from keys.ssh import signature as sshsig
from lib.errors import UnreachableError

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
ROOT = "/opt/ampzero"
TIME = 60.0


class Pair:
    """Two hosts that have staged the same release; the first has its blob."""

    def __init__(self, lab: Lab, channels: list[Channel], site: Site) -> None:
        self.lab = lab
        self.first, self.second = channels
        self.certificate: RelayCertificate = make()
        platform = self.first.call("hello", timeout=TIME)["platform"]
        manifest = site.release({"data": "x" * 2_000_000}, hosts=[host.name for host in lab.hosts])
        manifest["trees"] = {platform: manifest["trees"][facts.platform()]}
        text, signature = site.sign(manifest)
        self.sha256, self.content = max(site.blobs.items(), key=lambda item: len(item[1]))
        for channel in channels:
            channel.call("promise", timeout=TIME, epoch=1, coordinator="c")
            channel.call("stage", timeout=TIME, manifest=text, signature=signature, epoch=1)
        self.first.call("put", self.content, timeout=TIME, epoch=1, sha256=self.sha256, offset=0,
                        size=len(self.content))  # fmt: skip

    def pull(self) -> int:
        """Have the second host get it from the first."""
        relay = self.first.call("relay", timeout=TIME, epoch=1, sha256s=[self.sha256], ttl=60, children=1,
                                certificate=self.certificate.private)  # fmt: skip
        assert relay["address"] == self.lab.hosts[0].address
        answer = self.second.call(
            "pull", timeout=TIME, epoch=1, sha256=self.sha256, address=relay["address"], port=relay["port"],
            token=relay["tokens"][0], certificate=self.certificate.public, seconds=30,
        )  # fmt: skip
        return int(answer["have"])


@pytest.fixture
def pair(make_lab: MakeLab, tmp_path: Path) -> Iterator[Pair]:
    lab = make_lab(2)
    settings = Settings(config=None, known_hosts=lab.login.known_hosts, key=lab.login.key)
    site = Site(tmp_path)
    signer = sshsig.allowed_signer("me", site.key, NAMESPACE)
    with ExitStack() as stack:
        channels = []
        for as_root in (True, False):
            for host in lab.hosts:
                transport = open_transport(f"root@{host.address}", settings)
                channel = Channel.open(transport, ROOT, name=host.name, as_root=as_root)
                stack.callback(channel.close)
                if as_root:
                    channel.call("setup", timeout=TIME, instance="demo", environment="test", name=host.name,
                                 install=False, allowed_signers=signer)  # fmt: skip
                else:
                    channels.append(channel)
        yield Pair(lab, channels, site)


def test_a_blob_goes_from_host_to_host(pair: Pair) -> None:
    assert pair.pull() == len(pair.content)
    kept = pair.lab.hosts[1].path(f"{ROOT}/dist/patches/{pair.sha256}")
    assert kept.read_bytes() == pair.content
    assert kept.stat().st_uid != 0


def test_a_host_that_cannot_reach_the_other_says_so_soon(pair: Pair) -> None:
    pair.lab.hosts[0].run(["ip", "route", "add", "blackhole", pair.lab.hosts[1].address])
    with pytest.raises(UnreachableError, match=pair.lab.hosts[1].name):
        pair.pull()
    assert pair.second.call("hello", timeout=TIME)
