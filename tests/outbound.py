"""An HTTP proxy for tests, which records what it is asked for, and a server with a certificate."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vyrox.models import Outbound

REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Proxy:
    """Connects to this machine, whatever host it is asked for.

    Attributes:
        asked: The first line of each request.
        authorizations: The header of each request.
        answer: What it responds with instead. Empty: it hangs up.
    """

    port: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    answer: bytes | None = None

    def outbound(self, ca: str | None = None) -> Outbound:
        return Outbound(proxy=f"http://user:p%40ss@127.0.0.1:{self.port}", ca=ca)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            first, *others = head.decode().split("\r\n")
            self.asked.append(first)
            for name, _, value in (line.partition(": ") for line in others):
                if name.lower() == "proxy-authorization":
                    self.authorizations.append(value)
            if self.answer is not None:
                writer.write(self.answer)
                await writer.drain()
                return
            method, target, version = first.split(" ")
            where, _, path = target.removeprefix("http://").partition("/")
            up, down = await asyncio.open_connection("127.0.0.1", int(where.rpartition(":")[2]))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                down.write("\r\n".join([f"{method} /{path} {version}", *others]).encode())
            with contextlib.closing(down):
                await asyncio.gather(pipe(reader, down), pipe(up, writer))


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the reader ends."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.talk, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 5)


def certificate(directory: Path, name: str) -> tuple[str, str]:
    """Return the files of a certificate for `name`, signed by itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = (directory / "certificate.pem", directory / "key.pem")
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(files[0]), str(files[1])


def serving_context(files: tuple[str, str]) -> ssl.SSLContext:
    """Return the context of a server with the certificate in `files`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context
