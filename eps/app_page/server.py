"""What stands between the page and the network: an address, limits, and nothing that reaches out by itself."""

import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from eps.errors import UserError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = ("127.0.0.1", "localhost", "::1")


def keep_quiet(folder: str) -> None:
    """Before gradio is imported: no telemetry, no look for newer versions, no public link; its files go to `folder`."""
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SHARE": "False",
        "GRADIO_TEMP_DIR": folder,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    for name in ("no_proxy", "NO_PROXY"):  # gradio looks at its own page before it says that it is there
        os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), *LOCAL]))


def free_port(host: str, port: int) -> int:
    """The port, or any that is free where it is 0. Raises `UserError` where host or port cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise UserError(f"app.host={host}: no such address ({error.strerror})") from error
    except (OSError, OverflowError) as error:
        way_out = "choose another, or app.port=0 for one that is free"
        raise UserError(f"app.host={host} app.port={port} cannot be used ({error}); {way_out}") from error


class BodyLimit:
    """An ASGI app that takes no request with a body of more than `most` bytes, whatever the request says of it."""

    def __init__(self, app: App, *, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        stated = headers.get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > self.most:
            await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": b"too large"})
        got = 0

        async def counted() -> Scope:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return message if got <= self.most else {"type": "http.disconnect"}

        await self.app(scope, counted, send)
