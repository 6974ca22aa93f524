"""From what an importer read to an instance that can run, checked as amprun.yaml is."""

from __future__ import annotations

import msgspec

from lib import yamlfile
from lib.checks.config import check
from lib.config import Config, ServiceConfig
from lib.errors import ConfigError
from lib.importers.base import Imported
from lib.instance import Instance, make_instance


def instance_of(imported: Imported) -> Instance:
    """The instance of services that an importer read.

    Raises: ConfigError (`file:line`).
    """
    file = imported.file

    def fail(path: yamlfile.KeyPath, what: str, hint: str = "", *, key: bool = False) -> ConfigError:
        line = imported.lines.get(str(path[1]), 1) if len(path) > 1 else 1
        return ConfigError(f"{file}:{line}: {yamlfile.shown_path(path[1:])}: {what}", hint)

    services = {}
    for name, values in imported.config_services().items():
        try:
            services[name] = msgspec.convert(values, ServiceConfig)
        except msgspec.ValidationError as error:
            raise fail(("services", name), str(error)) from error
    config = Config(services=services)
    check(config, fail)
    return make_instance(file.parent, file, config)
