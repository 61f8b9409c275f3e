import asyncio
import os
import socket
from typing import Any

import pytest

from eps.app_page.server import BodyLimit, Receive, Scope, Send, free_port, keep_quiet
from eps.errors import UserError


def asked(parts: list[bytes], headers: list[tuple[bytes, bytes]], *, kind: str = "http") -> tuple[bytes, list[Any]]:
    """What an app behind the limit gets of a request in these parts, and what the limit answers by itself."""
    got, sent = b"", []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal got
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                got += b"gone"
                return
            got += message["body"]
            if not message["more_body"]:
                return

    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting[-1]["more_body"] = False

    async def receive() -> Scope:
        return waiting.pop(0)

    async def send(message: Scope) -> None:
        sent.append(message)

    asyncio.run(BodyLimit(app, most=10)({"type": kind, "headers": headers}, receive, send))
    return got, sent


def test_small_bodies_pass() -> None:
    assert asked([b"12345", b"67890"], [(b"content-length", b"10")]) == (b"1234567890", [])
    assert asked([b""], []) == (b"", [])


@pytest.mark.parametrize("length", [b"11", b"-1", b"many"])
def test_a_large_body_that_is_announced_is_not_read(length: bytes) -> None:
    got, sent = asked([b"1"], [(b"content-length", length)])
    assert got == b""
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 413


def test_a_large_body_that_is_not_announced_ends_as_if_its_sender_had_gone() -> None:
    assert asked([b"12345", b"678901", b"2"], [])[0] == b"12345gone"


def test_other_messages_than_requests_are_not_touched() -> None:
    assert asked([b"1" * 20], [], kind="websocket") == (b"1" * 20, [])


def test_ports() -> None:
    free = free_port("127.0.0.1", 0)
    assert free_port("127.0.0.1", free) == free
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"app\.port=\d+ cannot be used \(.*in use.*app\.port=0"):
            free_port("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match=r"app\.host=a b: no such address"):
        free_port("a b", 0)


def test_gradio_is_told_to_keep_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_SHARE", "GRADIO_TEMP_DIR", "HF_HUB_OFFLINE", "NO_PROXY"):
        monkeypatch.setenv(name, "before")
    for name in ("HF_HUB_DISABLE_TELEMETRY", "no_proxy"):
        monkeypatch.setenv(name, "")
    keep_quiet("there")
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == os.environ["GRADIO_SHARE"] == "False"
    assert os.environ["GRADIO_TEMP_DIR"] == "there"
    assert os.environ["NO_PROXY"] == "before,127.0.0.1,localhost,::1"
    assert os.environ["no_proxy"] == "127.0.0.1,localhost,::1"
