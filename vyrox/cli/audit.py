"""`vyrox audit`: read, export and verify the audit log."""

import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, Final

import click
import httpx
import msgspec
from rich.console import Console
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TimeElapsedColumn

from vyrox.chain import export as exporting
from vyrox.chain import verify as verifier
from vyrox.chain.entry import Scalar
from vyrox.chain.writer import Stream
from vyrox.cli.opened import opened_database
from vyrox.cli.output import as_time, json_option, print_table
from vyrox.cli.tenant import tenant_argument
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import OperatorError
from vyrox.settings import Settings

FOLLOW_INTERVAL_S: Final = 1.0
OVERLAP_S: Final = 5
"""How far back each look of --follow goes: what commits late has an earlier time."""

ANSWER_TIMEOUT_S: Final = 60.0
VERIFIER_NAME: Final = "verify_audit.py"
_STREAMS: Final[tuple[Stream, ...]] = ("actions", "events")

_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_entry_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])


class _Dated(msgspec.Struct):
    timestamp: int


_dated_decoder: Final = msgspec.json.Decoder(_Dated)


@click.group()
def audit() -> None:
    """The audit log: a hash chain of actions for each tenant, and one of events."""


def _parse_since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int:
    if text is None:
        return 0
    if age := _AGE.fullmatch(text):
        return int(wall_clock()) - int(age[1]) * _UNITS_S[age[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter("takes an age such as 90s, 30m, 12h, 7d, or ISO 8601") from exc
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@audit.command()
@click.option("--tenant", "tenant_id", help="Of one tenant; '' is the service's own chain.")
@click.option("--kind", help="Of one kind, such as auth.failed.")
@click.option("--since", callback=_parse_since, help="An age (90s, 30m, 12h, 7d) or ISO 8601.")
@click.option("--follow", is_flag=True, help="Go on with new ones as they come, until Ctrl-C.")
@json_option
def events(
    tenant_id: str | None, kind: str | None, since: int, follow: bool, as_json: bool
) -> None:
    """Show events: accepted alerts, failed authentication, refusals, outcomes, changes.

    With --json, one object a line.
    """

    async def run() -> None:
        wanted = exporting.Wanted(tenant_id, kind, since)
        seen: dict[str, int] = {}
        async with opened_database() as opened:
            while True:
                async for page in exporting.events(opened.database, wanted, seen):
                    _print_events(page, as_json)
                if not follow:
                    return
                await asyncio.sleep(FOLLOW_INTERVAL_S)
                recent = int(wall_clock() - FOLLOW_INTERVAL_S) - OVERLAP_S
                wanted = msgspec.structs.replace(wanted, since=max(wanted.since, recent))

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        sys.exit(130)


def _print_events(page: list[bytes], as_json: bool) -> None:
    if as_json:
        for line in page:
            click.echo(line)
    elif page:
        rows = [_entry_decoder.decode(line) for line in page]
        print_table(("TIME", "TENANT", "KIND", "REQUEST", "DETAILS"), map(_event_row, rows))


def _event_row(row: dict[str, Scalar]) -> tuple[object, ...]:
    timestamp = row.pop("timestamp")
    tenant_id, kind, request_id = row.pop("tenant_id"), row.pop("kind"), row.pop("request_id")
    del row["previous_hash"], row["hash"]
    details = " ".join(f"{name}={value}" for name, value in row.items() if value is not None)
    moment = as_time(float(timestamp)) if isinstance(timestamp, int) else None
    return moment, tenant_id or "(service)", kind, request_id, details


@audit.command()
@click.argument("path", metavar="[FILE|DIR|-]", required=False)
@click.option(
    "--live", "tenant_id", metavar="TENANT", help="Both chains of TENANT, in the database."
)
@click.option("--links-only", is_flag=True, help="Ask for no more than that the links hold.")
@json_option
def verify(path: str | None, tenant_id: str | None, links_only: bool, as_json: bool) -> None:
    """Verify an export, a directory of daily files, or with --live the database.

    Exits with 0 where the links hold and --links-only was asked; 1 where something was tampered
    with, and says which entry; 2 for wrong usage or nothing to check; 3 where the links hold but no
    checkpoint was given: a cut tail or a rewrite would look the same.
    """
    if (path is None) == (tenant_id is None):
        raise click.UsageError("Give either a FILE, a DIR or -, or --live TENANT.")
    if path is not None:
        flags = ["--links-only"] * links_only + ["--json"] * as_json
        sys.exit(verifier.main([*flags, "--", path]))
    sys.exit(asyncio.run(_verify_live(str(tenant_id), links_only, as_json)))


async def _verify_live(tenant_id: str, links_only: bool, as_json: bool) -> int:
    """Verify each chain as an outsider would, from its export; return the worst exit code."""
    codes: list[int] = []
    with tempfile.TemporaryDirectory(prefix="vyrox-verify-") as directory:
        async with opened_database() as opened:
            for stream in _STREAMS:
                file = Path(directory) / f"{tenant_id}-{stream}.jsonl"
                with file.open("wb") as lines:
                    async for page in exporting.pages(opened.database, tenant_id, stream):
                        lines.writelines(entry + b"\n" for entry in page)
                if file.stat().st_size:
                    flags = ["--links-only"] * links_only + ["--json"] * as_json
                    codes.append(verifier.main([*flags, "--", str(file)]))
    if not codes:
        raise click.UsageError(f"{tenant_id} has no entries: nothing to check.")
    return 1 if 1 in codes else max(codes)


@audit.command()
@tenant_argument
@click.option(
    "--out",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to write to; made if needed.",
)
@click.option(
    "--url",
    help="Fetch it from a proxy listener (http://127.0.0.1:3000), signed with "
    "VYROX_HMAC_SECRET, instead of reading the database.",
)
def export(tenant_id: str, directory: Path, url: str | None) -> None:
    """Write TENANT's actions to audit-YYYY-MM-DD.jsonl, one file a UTC day, with a verifier."""
    lines = _from_database(tenant_id) if url is None else _from_proxy(tenant_id, url)
    count = asyncio.run(_write_daily_files(lines, directory))
    verifier_file = directory / VERIFIER_NAME
    verifier_file.write_bytes(files("vyrox.chain").joinpath("verify.py").read_bytes())
    verifier_file.chmod(0o755)
    noun = "entry" if count == 1 else "entries"
    click.echo(f"{count} {noun} in {directory}; verify with: python3 {verifier_file} {directory}")


async def _from_database(tenant_id: str) -> AsyncIterator[bytes]:
    async with opened_database() as opened:
        async for page in exporting.pages(opened.database, tenant_id, "actions"):
            for entry in page:
                yield entry


async def _from_proxy(tenant_id: str, url: str) -> AsyncIterator[bytes]:
    timestamp = str(int(wall_clock()))
    secret = Settings.from_process().require_hmac_secret()
    headers = {
        "accept": "application/x-ndjson",
        "x-vyrox-timestamp": timestamp,
        "x-vyrox-signature": sign(f"{tenant_id}:{timestamp}", secret),
    }
    columns = (SpinnerColumn(), DownloadColumn(), TimeElapsedColumn())
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
                rest = b""
                async for chunk in answer.aiter_bytes():
                    progress.update(task, advance=len(chunk))
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line
                if rest:
                    raise OperatorError(f"{url}: the export was cut short")
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise OperatorError(f"{url}: {type(exc).__name__} {exc}") from exc


async def _write_daily_files(lines: AsyncIterator[bytes], directory: Path) -> int:
    """Write each line to the file of its UTC day; return how many there were."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (nothing else runs here)
    count = 0
    with ExitStack() as days:
        file: BinaryIO | None = None
        day = ""
        async for line in lines:
            timestamp = _dated_decoder.decode(line).timestamp
            of_line = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
            if file is None or of_line != day:
                days.close()
                day = of_line
                file = days.enter_context((directory / f"audit-{day}.jsonl").open("wb"))
            file.write(line + b"\n")
            count += 1
    return count
