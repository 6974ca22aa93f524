"""The runtime's own pages (sign-in, console, errors) and the headers that keep them safe.

Owns lib/node/html and lib/node/static. The pages of modules are lib/node/node.py's.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response

if TYPE_CHECKING:
    import jinja2

HERE = Path(__file__).parent
STATIC = HERE / "static"
SECURITY_HEADERS = {
    # Nothing from other hosts, nothing inline: a log line that looks like a script stays a log line.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then send `Origin: null` with forms, and we check the origin.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def environment(folder: Path) -> jinja2.Environment:
    """A Jinja2 environment for HTML: everything escaped, an unknown variable is an error."""
    # Loaded for the first page and not for the start, which others wait for.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )


class Pages:
    """Renders the runtime's own pages for the instance `name`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _templates(self) -> jinja2.Environment:
        return environment(HERE / "html")

    def warm(self) -> None:
        """Load what the first page would load, some 15 ms in which nobody else is answered."""
        for template in ("signin", "console"):
            self._templates.get_template(f"{template}.html")

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """The page `template`.html with `values`, and the security headers."""
        html = self._templates.get_template(f"{template}.html").render(instance=self.name, **values)
        return HTMLResponse(html, status, SECURITY_HEADERS)

    def error(self, status: int, title: str, text: str, *, hint: str = "", traceback: str = "") -> Response:
        """A clear page about what went wrong; `hint` is a command, `traceback` only for debugging."""
        return self.page("error", status, title=title, text=text, hint=hint, traceback=traceback)
