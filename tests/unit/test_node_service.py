from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lib.application import LAUNCHER
from lib.config import Config, ServiceConfig
from lib.instance import Instance
from lib.services.ampnode import Ampnode
from lib.services.base import Context


def service(folder: Path, processes: int, debug: bool = False) -> Ampnode:
    instance = Instance("demo", folder, "demo", folder, folder / "amprun.yaml", Config())
    context = Context(
        instance,
        port=lambda key, wanted: wanted,
        secret=lambda name: folder / name,
        launcher=("python", "a.py"),
    )
    return Ampnode("web", ServiceConfig(processes=processes), replace(context, debug=debug))


def test_each_process_has_a_socket_which_the_others_are_told(tmp_path: Path) -> None:
    web = service(tmp_path, 2)
    sockets = web.offers()["AMPNODE_SOCKETS"].splitlines()
    specs = web.processes({})
    assert [spec.argv[-1] for spec in specs] == sockets and len(set(sockets)) == 2
    assert [spec.name for spec in specs] == ["web.1", "web.2"]
    for spec, socket in zip(specs, sockets, strict=True):
        assert spec.argv[:-1] == (*LAUNCHER, "ampnode", "--socket")
        assert spec.listen == (f"unix:{socket}",)
        assert spec.ready is not None and spec.ready.kind == "notify"
        assert spec.env == {}


def test_debugging_is_passed_on(tmp_path: Path) -> None:
    assert service(tmp_path, 1, debug=True).processes({})[0].env == {"AMPZERO_DEBUG": "1"}
