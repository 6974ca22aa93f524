"""The console's own files (style, scripts, icon) at /_ampzero/static."""

from __future__ import annotations

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from lib.node.pages import SECURITY_HEADERS, STATIC


class Static(StaticFiles):
    """Files that a browser keeps but asks about each time, so that an upgrade shows at once."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with the pages' security headers.

        Raises: starlette.exceptions.HTTPException.
        """
        response = await super().get_response(path, scope)
        response.headers.update({**SECURITY_HEADERS, "Cache-Control": "no-cache"})
        return response
