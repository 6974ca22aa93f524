"""An example module: one page at /hello, made of templates/hello.html, that counts its visitors in Redis.

A module has a function `routes(node)` that returns its routes; their paths begin where ampnode.yaml says.
`node` has everything of the instance: redis, keyspace, zerodata, logstore, keys, settings, options, render.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def routes(node):
    """The module's routes."""

    async def page(request: Request) -> Response:
        visits = await node.redis.incr("hello:visits")
        return node.page("hello.html", greeting=node.options.get("greeting", "Hello"), visits=visits)

    async def who(request: Request) -> Response:
        host = node.keys.host
        return JSONResponse({"instance": node.name, "process": node.process, "id": host.id if host else None})

    return [Route("/", page), Route("/who", who)]
