"""A service that is one process of a foreign program, run from a configuration file of the instance.

Owns how such a file is found and rendered; what is in it is each kind's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lib.errors import ConfigError, StorageError
from lib.services.base import RenderedFile, Service

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "instance_template"
"""What `init` copies; used as it is by an instance that has only an amprun.yaml."""


class TemplatedService(Service):
    """One process of a program whose configuration the instance holds as a Jinja2 template."""

    def source(self, relative: str) -> Path:
        """The instance's own file `relative`, or the one that `init` would have put there."""
        own = self.context.instance.directory / relative
        return own if own.exists() else TEMPLATES / relative

    def rendered(self, relative: str, path: Path, values: Mapping[str, object]) -> RenderedFile:
        """The template `relative` with `values`, to be written to `path`.

        Raises: ConfigError where the template is wrong; StorageError where it cannot be read.
        """
        # Jinja2 is a quarter of all that a start loads: only for who has such a file.
        from lib.template import render_string

        source = self.source(relative)
        try:
            text = source.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{source}: not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
        except OSError as error:
            raise StorageError(f"cannot read {source}: {error.strerror}") from error
        return RenderedFile(path, render_string(text, values, name=str(source)))

    def wanted_port(self) -> int:
        """The port that amprun.yaml asks for, 0 for any."""
        return self.config.port if isinstance(self.config.port, int) else 0

    def is_wanted(self) -> bool:
        """Whether the service has its one process: False for `processes: 0`.

        Raises: ConfigError for more than one: two of these would share one data folder.
        """
        if self.config.processes > 1:
            raise ConfigError(
                f"{self.context.instance.config_file}: services.{self.name}.processes: "
                f"a {self.kind} service has one process, not {self.config.processes}",
                f"name a second service with `kind: {self.kind}`",
            )
        return self.config.processes == 1
