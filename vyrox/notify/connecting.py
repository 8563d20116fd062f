"""Connections to targets: the address that was checked is the address that is connected to.

A name that is checked first and resolved again later could lead to another address the second time
(DNS rebinding). So this resolves once, checks every address, and connects to one of these.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

import httpcore

from vyrox.errors import NotDeliveredError
from vyrox.notify.addresses import is_public, why_refused

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a name. Raises OSError or UnicodeError if it has none."""

RESOLVE_S: Final = 2.5
"""Time limit for the addresses of a name."""

MAX_ADDRESSES: Final = 8
"""Addresses of one name that are tried."""

RESOLVER_THREADS: Final = 16
"""Names that are resolved at the same time. A name server that is down takes a thread for long."""


class Resolver(AbstractAsyncContextManager["Resolver"]):
    """Resolves names in threads of its own, so that a slow name delays no vendor's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="notify-dns")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of `host`, in the system's order of preference."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, _addresses, host, port
        )
        return list(dict.fromkeys(found))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the threads that are idle, and those that are not once their name is resolved."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses, and to any address of a host that is allowed by name."""

    def __init__(self, resolve: Resolve, allowed_hosts: AbstractSet[str]) -> None:
        self._resolve = resolve
        self._allowed_hosts = allowed_hosts
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the library's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection to a checked address of `host`.

        Raises:
            NotDeliveredError: The name does not resolve, or an address is refused.
            httpcore.ConnectError: No address accepts a connection. A ConnectTimeout is alike.
        """
        addresses = await self._checked(host, port)
        each_s = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(
                    address, port, each_s, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(
            addresses[-1], port, each_s, local_address, socket_options
        )

    async def check_for_proxy(self, host: str, port: int) -> None:
        """Return if a proxy may be asked to connect to `host`.

        The proxy resolves the name. So a name that does not resolve here is not refused.

        Raises:
            NotDeliveredError: An address of the host is refused.
        """
        try:
            addresses = await self._addresses(host, port)
        except NotDeliveredError:
            return
        self._refuse_private(host, addresses)

    async def _checked(self, host: str, port: int) -> list[str]:
        addresses = await self._addresses(host, port)
        self._refuse_private(host, addresses)
        return addresses

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(RESOLVE_S):
                addresses = (await self._resolve(host, port))[:MAX_ADDRESSES]
        except TimeoutError as exc:
            raise NotDeliveredError("the name server did not answer in time") from exc
        except (OSError, UnicodeError) as exc:
            raise NotDeliveredError("the name of the host does not resolve (DNS)") from exc
        if not addresses:
            raise NotDeliveredError("the name of the host has no address (DNS)")
        return addresses

    def _refuse_private(self, host: str, addresses: list[str]) -> None:
        if host not in self._allowed_hosts:
            refused = [address for address in addresses if not is_public(address)]
            if refused:
                raise NotDeliveredError(why_refused(refused[0]))
