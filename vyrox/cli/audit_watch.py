"""`vyrox audit watch`: a witness of a log, run by those who must trust it (contract 95)."""

import asyncio
import contextlib
import re
import signal
import socket
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click
import httpx

from vyrox.chain.entry import Stream
from vyrox.chain.notes import TIMED, Key, Note, NoteError, check, read_checkpoint, read_key
from vyrox.chain.reading import STREAMS
from vyrox.chain.witness import Added, RefusedError, RewrittenError, Witness
from vyrox.cli.audit_fetch import TIMEOUT_S, AuditClient, Fetched
from vyrox.cli.options import check_tenant_id
from vyrox.cli.output import printable
from vyrox.cli.secret_input import read_secret_lines
from vyrox.clock import utc_text, wall_clock
from vyrox.errors import OperatorError

MAX_KEY: Final = 256
REWRITTEN: Final = 1
NOT_CHECKED: Final = 3

STALE_S: Final = 300
"""How far the signed time may be from this clock before that is said."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_LISTEN: Final = re.compile(r"(.+):([0-9]{1,5})")


class Watch:
    """Fetches the checkpoints of both streams, and lets the witness judge them."""

    def __init__(self, witness: Witness, client: AuditClient) -> None:
        """`client` asks the service."""
        self.witness = witness
        self._client = client
        self.lock = asyncio.Lock()
        self.rewritten: RewrittenError | None = None
        self.ended = asyncio.Event()

    def end(self, error: RewrittenError) -> None:
        """End the watch: the log was rewritten."""
        self.rewritten = error
        self.ended.set()

    async def check_all(self) -> bool:
        """Check each stream once; return whether all could be checked.

        Raises:
            RewrittenError: The log says another thing than before.
        """
        checked = True
        for stream in STREAMS:
            try:
                async with self.lock:
                    await self._check(stream)
            except RewrittenError:
                raise
            except (OperatorError, NoteError, OSError, ValueError) as exc:
                click.echo(_line(f"{stream}: NOT CHECKED: {exc}"), err=True)
                checked = False
        return checked

    async def _check(self, stream: Stream) -> None:
        fetched = await self._client.checkpoint(stream)
        note = fetched.note
        await self._follow(fetched)
        try:
            found = self.witness.stream_of(note)
        except RefusedError as exc:
            raise await self._rewritten(stream, note, str(exc)) from exc
        old, size = self.witness.last_size(stream), read_checkpoint(note).size
        if found != stream or size < old:
            what = f"{stream}: the log has {size} entries, and had {old}"
            raise await self._rewritten(stream, note, what)
        proof = await self._proof(stream, old, size)
        try:
            await asyncio.to_thread(self.witness.extend, Added(old, proof, note))
        except RefusedError as exc:
            what = f"{stream}: entries that the log had were changed: {exc}"
            raise await self._rewritten(stream, note, what) from exc
        late = self._how_late(note)
        click.echo(_line(f"{stream}: {size} entries, {size - old} of them new: co-signed{late}"))

    async def _rewritten(self, stream: Stream, note: Note, what: str) -> RewrittenError:
        return RewrittenError(await asyncio.to_thread(self.witness.evidence, stream, note, what))

    async def _follow(self, fetched: Fetched) -> None:
        """Know the key of the log, or the one that follows it."""
        try:
            self.witness.stream_of(fetched.note)
            is_known = True
        except RefusedError:
            is_known = False
        try:
            is_new = await asyncio.to_thread(self.witness.know, fetched.key, fetched.endorsements)
        except RewrittenError:
            if is_known:
                return  # the known key has signed as well, so it is still in use
            raise
        if is_new:
            click.echo(_line(f"the key of the log is {self.witness.log_key}"))
            click.echo("compare it with what its operator has given you: vyrox audit key", err=True)

    def _how_late(self, note: Note) -> str:
        log = self.witness.log_key
        if log is None:
            return ""
        try:
            at = check(note, Key(read_checkpoint(note).origin, log.public, TIMED)) or 0
        except NoteError:
            return "; no signature of the log has a time"
        late_s = int(wall_clock()) - at
        return f"; its signed time is {late_s} s from this clock" if abs(late_s) > STALE_S else ""

    async def _proof(self, stream: Stream, old: int, size: int) -> tuple[bytes, ...]:
        if old in {0, size}:
            return ()
        found = await self._client.consistency(stream, old, size)
        return tuple(b64decode(each) for each in found.proof)


def _line(text: str) -> str:
    return printable(f"{utc_text(wall_clock())} {text}")


@click.command()
@click.option("--url", required=True, help="The private listener of the service.")
@click.option("--tenant", "tenant_id", required=True, callback=check_tenant_id, help="The tenant.")
@click.option("--key-stdin", is_flag=True, help="Read the reader's key from standard input.")
@click.option(
    "--state",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the last checkpoints are kept. Default: vyrox-witness-TENANT.",
)
@click.option(
    "--interval",
    type=click.IntRange(1, 86_400),
    default=60,
    show_default=True,
    help="Seconds between two checks.",
)
@click.option("--once", is_flag=True, help="Check once, and end.")
@click.option("--listen", metavar="HOST:PORT", help="Serve add-checkpoint, for WITNESS_URLS.")
@click.option("--log-key", metavar="KEY", help="The key of the log, as vyrox audit key prints it.")
@click.option("--name", help="The name of this witness. Default: HOST/vyrox-witness.")
def watch(
    url: str,
    tenant_id: str,
    key_stdin: bool,
    directory: Path | None,
    interval: int,
    once: bool,
    listen: str | None,
    log_key: str | None,
    name: str | None,
) -> None:
    """Watch the audit log of a tenant: keep its last checkpoint, and co-sign what extends it.

    Run it where the operator of the service has no access, with a key from `vyrox audit reader`.
    Exits with 1 if the log was cut or rewritten, and prints and stores what shows that; with
    --once, exits with 3 if it could not be checked.
    """
    if not key_stdin:
        raise click.UsageError("Give the reader's key on standard input, with --key-stdin.")
    [secret] = read_secret_lines(["key"], MAX_KEY)
    named = name or f"{socket.gethostname()}/vyrox-witness"
    if _NAME.fullmatch(named) is None:
        raise click.BadParameter("--name must be letters, digits, dots, dashes and slashes")
    state = directory or Path(f"vyrox-witness-{tenant_id}")
    witness = Witness(state, named, quote(tenant_id, safe=""), wall_clock)
    if log_key is not None:
        try:
            witness.know(read_key(log_key), force=True)
        except NoteError as exc:
            raise click.BadParameter(f"--log-key: {exc}") from exc
    click.echo(f"this witness signs with {witness.key}")
    try:
        sys.exit(asyncio.run(_watch(witness, url, tenant_id, secret, listen, interval, once)))
    except RewrittenError as exc:
        # The text is the log's, which is not trusted; only its line ends are kept.
        lines = "\n".join(map(printable, str(exc).split("\n")))
        click.echo(f"\nTHE LOG WAS REWRITTEN\n\n{lines}", err=True)
        sys.exit(REWRITTEN)


async def _watch(
    witness: Witness,
    url: str,
    tenant_id: str,
    secret: str,
    listen: str | None,
    interval: int,
    once: bool,
) -> int:
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        )
        watching = Watch(witness, AuditClient(http, url, tenant_id, secret))
        stopped = watching.ended
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        if listen is not None:
            await stack.enter_async_context(_serving(watching, witness, listen))
        while True:
            checked = await watching.check_all()
            if once:
                return 0 if checked else NOT_CHECKED
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await stopped.wait()
            if watching.rewritten is not None:
                raise watching.rewritten
            if stopped.is_set():
                return 0


@asynccontextmanager
async def _serving(watching: Watch, witness: Witness, listen: str) -> AsyncIterator[None]:
    # Imported here: the other commands start faster without it.
    from vyrox.http.listener import address_of, bind, small_server
    from vyrox.routes.witness import create_witness

    matched = _LISTEN.fullmatch(listen)
    if matched is None:
        raise OperatorError("--listen must be HOST:PORT")
    server = small_server(create_witness(witness, watching.lock, watching.end))
    with bind(matched[1].strip("[]"), int(matched[2]), "--listen") as listener:
        listener.listen()
        click.echo(f"WITNESS_URLS=http://{address_of(listener)}#{witness.key}")
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await task
