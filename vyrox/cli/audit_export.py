"""`vyrox audit export`: a tenant's chain as daily files, and a verifier that needs no Vyrox."""

import asyncio
import os
import shlex
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, Final

import click
import httpx
import msgspec
from rich.console import Console
from rich.progress import FileSizeColumn, Progress, SpinnerColumn, TimeElapsedColumn

from vyrox.chain import export as exporting
from vyrox.chain import verify as verifier
from vyrox.chain.entry import Stream
from vyrox.cli.choices import Choice
from vyrox.cli.options import tenant_argument
from vyrox.cli.stores import opened_database
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import OperatorError
from vyrox.settings import Settings
from vyrox.store.data_dir import open_private

ANSWER_TIMEOUT_S: Final = 60.0
NDJSON: Final = "application/x-ndjson"
VERIFIER_NAME: Final = "verify_audit.py"
UNDATED: Final = "1970-01-01"
"""The day of entries without a readable time at the beginning of the export."""


class _Dated(msgspec.Struct):
    timestamp: int


_dated_decoder: Final = msgspec.json.Decoder(_Dated)


@click.command()
@tenant_argument
@click.option(
    "--out",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to write to; created if missing. An earlier export of TENANT is continued.",
)
@click.option(
    "--url",
    help="Fetch it from the private listener (http://127.0.0.1:3000), signed with "
    "VYROX_HMAC_SECRET or VYROX_READ_SECRET, instead of reading the database.",
)
@click.option(
    "--stream",
    type=Choice(["actions", "events"]),
    default="actions",
    show_default=True,
    help="Which of the two chains. Both together show who approved; the events only from the "
    "database.",
)
def export(tenant_id: str, directory: Path, url: str | None, stream: Stream) -> None:
    """Write TENANT's actions to audit-YYYY-MM-DD.jsonl, one file a UTC day, with a verifier.

    If the directory has files that are not the beginning of this export, nothing is written: the
    files may be the only proof that the log was changed since.
    """
    if url is not None and stream == "events":
        raise click.UsageError("--url has the actions only: export the events without it.")
    lines = _from_database(tenant_id, stream) if url is None else _from_proxy(tenant_id, url)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=directory) as fresh:
            count = asyncio.run(_write_daily_files(lines, Path(fresh)))
            _take_over(Path(fresh), directory)
            if count == 0:
                raise click.UsageError(f"{tenant_id} has no entries: nothing to verify.")
            _write_verifier(Path(fresh) / VERIFIER_NAME)
            (Path(fresh) / VERIFIER_NAME).replace(directory / VERIFIER_NAME)
    except OSError as exc:
        raise OperatorError(f"{exc.filename or directory}: {exc.strerror}") from exc
    noun = "entry" if count == 1 else "entries"
    command = shlex.join(["python3", "-I", str(directory / VERIFIER_NAME), str(directory)])
    click.echo(f"{count} {noun} in {directory}; verify with: {command}")
    if stream == "events":
        verifier = directory / VERIFIER_NAME
        who = shlex.join(["python3", "-I", str(verifier), "--approvals"])
        click.echo(
            f"who approved what: export the actions to ACTIONS, then {who} ACTIONS {directory}",
            err=True,
        )


def _write_verifier(path: Path) -> None:
    path.write_bytes(files("vyrox.chain").joinpath("verify.py").read_bytes())
    path.chmod(0o700)


def _take_over(fresh: Path, directory: Path) -> None:
    """Move the daily files of `fresh` to `directory`, where they may only add to what is there.

    Raises:
        OperatorError: They do not; nothing was moved.
    """
    for file in directory.glob("audit-*.jsonl"):
        if not _begins_with(fresh / file.name, file):
            raise OperatorError(
                f"{file} is not the beginning of this export, so nothing was written: keep it, and "
                "export to another directory"
            )
    # The oldest first, so that at any moment the files there are one chain.
    for file in sorted(fresh.iterdir()):
        file.replace(directory / file.name)


def _begins_with(file: Path, beginning: Path) -> bool:
    if not file.exists():
        return False
    with file.open("rb") as whole, verifier.open_regular(beginning) as part:
        while chunk := part.read(verifier.CHUNK_BYTES):
            if whole.read(len(chunk)) != chunk:
                return False
    return True


async def _from_database(tenant_id: str, stream: Stream) -> AsyncIterator[bytes]:
    async with opened_database() as opened:
        async for page in exporting.pages(opened.database, tenant_id, stream):
            for entry in page:
                yield entry


async def _from_proxy(tenant_id: str, url: str) -> AsyncIterator[bytes]:
    timestamp = str(int(wall_clock()))
    secret = Settings.from_process().require_reading_secret()
    headers = {
        "accept": NDJSON,
        "x-vyrox-timestamp": timestamp,
        "x-vyrox-signature": sign(f"{tenant_id}:{timestamp}", secret),
    }
    columns = (SpinnerColumn(), FileSizeColumn(), TimeElapsedColumn())
    terminal = Console(stderr=True)
    progress = Progress(*columns, console=terminal, disable=not terminal.is_terminal)
    try:
        with progress:
            task = progress.add_task("export", total=None)
            async with (
                httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S, trust_env=False) as client,
                client.stream(
                    "GET",
                    f"{url.rstrip('/')}/audit/export",
                    params={"tenant_id": tenant_id},
                    headers=headers,
                ) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise OperatorError(f"{url} answered {answer.status_code}")
                if answer.headers.get("content-type") != NDJSON:
                    raise OperatorError(f"{url} answered with something else than an export")
                rest = b""
                async for chunk in answer.aiter_bytes():
                    progress.update(task, advance=len(chunk))
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line
                if rest:
                    raise OperatorError(f"{url}: the export is incomplete")
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise OperatorError(f"{url}: {type(exc).__name__} {exc}") from exc


async def _write_daily_files(lines: AsyncIterator[bytes], directory: Path) -> int:
    """Write each line to the file of its UTC day; return how many there were.

    What was tampered with is written like the rest, for the verifier to find: a line without a
    readable time goes to the file of the line before it.
    """
    count = 0
    day = UNDATED
    file: BinaryIO | None = None
    try:
        async for line in lines:
            of_line = _day(line) or day
            if file is None or of_line != day:
                if file is not None:
                    file.close()
                day = of_line
                file = _new_file(directory / f"audit-{day}.jsonl")
            file.write(line + b"\n")
            count += 1
    finally:
        if file is not None:
            file.close()
    return count


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


def _day(line: bytes) -> str | None:
    try:
        timestamp = _dated_decoder.decode(line).timestamp
    except ValueError:
        return None
    if not 0 <= timestamp <= verifier.MAX_TIMESTAMP:
        return None
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
