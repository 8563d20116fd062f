"""Sends short messages to channels beside webhooks (contract 69).

Each message has a process of its own, which can be ended at any time: a thread could not.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from vyrox.errors import NotDeliveredError
from vyrox.models import DIRECT, Outbound
from vyrox.notify.channel_process import Order, Result
from vyrox.notify.channel_url import parse_channel
from vyrox.notify.short import Short

MAX_AT_ONCE: Final = 2
"""Processes at the same time. Each needs about 60 MB, and a second of one processor."""

CHANNEL_TIMEOUT_S: Final = 20.0
"""For one message. As long it may wait for a free place before: together less than a claim."""

MAX_RESULT: Final = 4096

_decode: Final = msgspec.json.Decoder(Result).decode


class Channels:
    """Sends short messages. It knows no database."""

    def __init__(
        self,
        allowed_hosts: AbstractSet[str],
        console_origin: str | None = None,
        outbound: Outbound = DIRECT,
    ) -> None:
        """Create it.

        Args:
            allowed_hosts: Names and addresses that may be private, and without TLS.
            console_origin: Of the console, for links. None: there is no console.
            outbound: How channels are reached. E-mail goes without the proxy: SMTP has none.
        """
        self._allowed_hosts = allowed_hosts
        self._origin = console_origin
        self._outbound = outbound
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._running: set[Process] = set()
        self._is_stopping = False

    async def deliver(self, url: str, body: bytes) -> None:
        """Send a message, which is an encoded `Short`.

        Raises:
            NotDeliveredError: The channel did not take it in time. The text contains nothing of
                the URL.
        """
        try:
            parse_channel(url, self._allowed_hosts)
        except ValueError as exc:
            raise NotDeliveredError(f"the stored URL {exc}") from None
        short = msgspec.json.decode(body, type=Short)
        linked = [] if short.link is None or self._origin is None else [self._origin + short.link]
        hosts = sorted(self._allowed_hosts)
        way = self._outbound
        order = Order(url, short.title, "\n".join([short.text, *linked]), hosts, way.proxy, way.ca)
        try:
            async with asyncio.timeout(CHANNEL_TIMEOUT_S):
                await self._places.acquire()
        except TimeoutError:
            raise NotDeliveredError("other channels did not respond in time") from None
        try:
            async with asyncio.timeout(CHANNEL_TIMEOUT_S):
                reason = await self._run(msgspec.json.encode(order))
        except TimeoutError:
            raise NotDeliveredError(f"not sent within {CHANNEL_TIMEOUT_S:.0f} s") from None
        finally:
            self._places.release()
        if reason is not None:
            raise NotDeliveredError(reason)

    def stop(self) -> None:
        """End what is being sent; it is tried again. Nothing more is begun."""
        self._is_stopping = True
        for process in self._running:
            process.kill()

    async def _run(self, order: bytes) -> str | None:
        """Return why the message was not delivered, or None."""
        if self._is_stopping:
            return "the service is stopping"
        proxy = self._outbound.proxy
        proxies = {} if proxy is None else dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), proxy)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "vyrox.notify.channel_process",
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1", **proxies},
            start_new_session=True,
        )
        self._running.add(process)
        try:
            result, _ = await process.communicate(order)
            return _decode(result[:MAX_RESULT]).reason
        except msgspec.DecodeError:
            return "the process that sends the message ended without a result"
        finally:
            self._running.discard(process)
            if process.returncode is None:
                process.kill()
                await process.wait()
