"""One request over HTTP/1.0 (RFC 1945: the body ends with the connection) with a bounded answer."""

from __future__ import annotations

from lib.supervisor.probes import ProbeError, connect

ANSWER_MAX = 256 * 1024


async def request(target: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of a GET, or of a POST of JSON when there is a `body`.

    `target` is `http://host:port` or `http+unix:/socket`.

    Raises: ProbeError, OSError, ValueError.
    """
    unix = target.startswith("http+unix:")
    address = target.removeprefix("http+") if unix else target.removeprefix("http://").partition("/")[0]
    head = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.0",
        f"Host: {'localhost' if unix else address}",
    ]
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    reader, writer = await connect(address)
    try:
        writer.write("\r\n".join([*head, "", ""]).encode() + (body or b""))
        answer = b""
        while block := await reader.read(65536):
            answer += block
            if len(answer) > ANSWER_MAX:
                raise ProbeError(f"an answer of more than {ANSWER_MAX} bytes")
    finally:
        writer.close()
    start, _, rest = answer.partition(b"\r\n\r\n")
    words = start.split(b" ", 2)
    if not words[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1][:3].isdigit():
        raise ProbeError(f"{address} does not speak HTTP")
    return int(words[1][:3]), rest
