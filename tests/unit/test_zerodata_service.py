from __future__ import annotations

from pathlib import Path

from lib.application import LAUNCHER
from lib.config import Config, ServiceConfig
from lib.instance import Instance
from lib.services.base import Context
from lib.services.zerodata import Zerodata


def test_what_the_service_is(tmp_path: Path) -> None:
    instance = Instance(
        name="kick", root=tmp_path, var_name="kick", directory=tmp_path / "kick",
        config_file=tmp_path / "kick/amprun.yaml", config=Config(),
    )  # fmt: skip
    context = Context(
        instance=instance, port=lambda key, wanted: wanted, secret=lambda name: tmp_path / f"{name}.secret",
        launcher=("ampzero",),
    )  # fmt: skip
    service = Zerodata("records", ServiceConfig(), context)
    socket = instance.sockets / "records.sock"
    assert service.environment() == {
        "ZERODATA_URL": f"unix:{socket}",
        "ZERODATA_SECRET_FILE": str(tmp_path / "zerodata.secret"),
    }
    assert service.folders() == [instance.data / "records"]
    (process,) = service.processes({})
    assert process.argv == (*LAUNCHER, "zerodata", "--socket", str(socket))
    assert process.cwd == str(tmp_path / "kick")
    assert process.env == {"ZERODATA_DATA": str(instance.data / "records")}
    assert process.ready is not None
    assert process.ready.target == f"http+unix:{socket}:/healthz"
