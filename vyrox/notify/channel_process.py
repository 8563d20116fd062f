"""One message to one channel, in a process of its own: `python -m vyrox.notify.channel_process`.

It reads one JSON object from standard input and writes one. The process has no environment but the
proxy's URL, and before it loads the package `apprise` it refuses connections to addresses that are
not public, other programs, and files that are written. So a redirect, or a name that changes its
address, gains nothing. Nothing of Vyrox is here: no database, no key.
"""

import contextlib
import io
import logging
import os
import re
import resource
import socket
import ssl
import sys
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import urlsplit

import msgspec

from vyrox.notify.addresses import is_public, why_refused
from vyrox.notify.channel_url import WITH_HOST

MAX_MEMORY: Final = 384 * 1024 * 1024
"""Bytes of the process. `apprise` reads a response whole, and unpacks it: a small one can become
gigabytes, which would end the service too."""

_STATUS: Final = re.compile(r"error=(\d{3})\b")

_TO_ADDRESS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
"""Their second argument is an address."""

_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_REFUSED_EVENTS: Final = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "pty.",
)


class Order(msgspec.Struct, frozen=True):
    """What to send, and where.

    Attributes:
        allowed_hosts: Names and addresses that may be private.
        proxy: The proxy's URL, which is in the environment too. It may be private.
        ca: PEM certificates that are trusted beside the public ones.
    """

    url: str
    title: str
    text: str
    allowed_hosts: list[str]
    proxy: str | None = None
    ca: str | None = None

    def __repr__(self) -> str:
        return "Order"


class Result(msgspec.Struct, frozen=True):
    """What came of it. `reason` is None if it was delivered, and contains nothing of the URL."""

    reason: str | None


class Guard:
    """Refuses what a message to a channel does not need. It cannot be taken off again."""

    def __init__(self, allowed_hosts: AbstractSet[str]) -> None:
        self._allowed_hosts = allowed_hosts
        self._allowed: set[str] = set()
        self.refused: str | None = None
        """The first address that was refused."""

    def install(self) -> None:
        """Begin to refuse."""
        resolve = socket.getaddrinfo

        def noting(host: str | bytes | None, *args: object, **kwargs: object) -> object:
            found = resolve(host, *args, **kwargs)  # type: ignore[arg-type]
            if isinstance(host, str) and host.lower() in self._allowed_hosts:
                self._allowed.update(str(each[4][0]) for each in found)
            return found

        socket.getaddrinfo = noting  # type: ignore[assignment]
        sys.addaudithook(self._check)

    def check_target(self, url: str) -> None:
        """Note the address of a channel's own host if it is refused: the proxy would take any."""
        parts = urlsplit(url)
        has_host = parts.scheme in WITH_HOST or (
            parts.scheme in {"ntfy", "ntfys"} and parts.path.strip("/")
        )
        if not has_host:
            return  # what follows the scheme is a secret, and the service is a public one
        try:
            found = socket.getaddrinfo(parts.hostname or "", None)
        except (OSError, UnicodeError):
            return
        for each in found:
            with contextlib.suppress(PermissionError):
                self._check_address(each[4])

    def _check(self, event: str, args: tuple[object, ...]) -> None:
        if event in _TO_ADDRESS:
            self._check_address(args[1])
        elif event.startswith(_REFUSED_EVENTS) or (event == "open" and _is_write(*args[1:3])):
            raise PermissionError(event)

    def _check_address(self, address: object) -> None:
        host = str(address[0]) if isinstance(address, tuple) else "a socket file"
        if host not in self._allowed and not is_public(host):
            self.refused = self.refused or host
            raise PermissionError("this address is refused")


def _is_write(mode: object, flags: object) -> bool:
    """Return whether a file is opened to be written: by a mode, or by `os.open` without one."""
    is_mode = isinstance(mode, str) and bool(set(mode) & set("wax+"))
    return is_mode or (isinstance(flags, int) and bool(flags & _WRITES))


def trust(ca: str) -> None:
    """Let every TLS connection of this process trust the certificates in `ca` too."""
    load = ssl.SSLContext.load_verify_locations
    for name in ("load_verify_locations", "load_default_certs"):
        setattr(ssl.SSLContext, name, _and_then(getattr(ssl.SSLContext, name), load, ca))


def _and_then(
    first: Callable[..., None], load: Callable[..., None], ca: str
) -> Callable[..., None]:
    def both(context: ssl.SSLContext, *args: object, **kwargs: object) -> None:
        first(context, *args, **kwargs)
        load(context, cadata=ca)

    return both


def send(order: Order) -> Result:
    """Send the message with `apprise`, and return what came of it."""
    import apprise

    text = io.StringIO()
    logs = logging.getLogger("apprise")
    logs.addHandler(logging.StreamHandler(text))
    asset = apprise.AppriseAsset(
        app_id="Vyrox",
        app_desc="Vyrox",
        app_url="",
        storage_mode="memory",
        async_mode=False,
        http_redirects=False,
        allow_templates=False,
        pgp_autogen=False,
        pem_autogen=False,
        image_path_mask=False,
        image_url_mask="",
        image_url_logo="",
    )
    channel = apprise.Apprise.instantiate(order.url, asset=asset)
    if channel is None:
        return Result("the URL is not complete, or not one of this service")
    sender = apprise.Apprise(asset=asset)
    sender.add(channel)
    # Opsgenie and PagerDuty close an alert at a mere information.
    is_sent = sender.notify(
        body=order.text,
        title=order.title,
        notify_type=apprise.NotifyType.WARNING,
        body_format=apprise.NotifyFormat.TEXT,
    )
    if is_sent:
        return Result(None)
    found = _STATUS.search(text.getvalue())
    why = f": the service responded with HTTP {found[1]}" if found else ""
    return Result(f"the channel did not take the message{why}")


def main() -> None:
    """Read an order, carry it out, write the result."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if order.ca is not None:
        trust(order.ca)
    proxies = [] if order.proxy is None else [(urlsplit(order.proxy).hostname or "").lower()]
    guard = Guard(frozenset([*order.allowed_hosts, *proxies]))
    guard.install()
    if order.proxy is not None:
        guard.check_target(order.url)
    result = Result("refused") if guard.refused else send(order)
    if result.reason is not None and guard.refused is not None:
        result = Result(why_refused(guard.refused))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
