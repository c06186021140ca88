"""MiniStack, told that its requests come over TLS, as all of AWS's do.

The queues refuse what does not come over TLS. MiniStack enforces that, and it can serve TLS itself, but with
a certificate that no S3 client trusts; so it runs as if behind something that ends the TLS, which would tell it
so in this header. Run by the Python of the emulator's own environment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ministack import app as ministack  # type: ignore[import-not-found]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OVER_TLS = (b"x-forwarded-proto", b"https")


def behind_tls(app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], OVER_TLS]}
        await app(scope, receive, send)

    return wrapped


if __name__ == "__main__":
    ministack.app = behind_tls(ministack.app)
    ministack.main()
