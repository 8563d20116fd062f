"""`vyrox audit export`: a tenant's log as files, and a verifier that needs no Vyrox."""

import asyncio
import os
import shlex
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, Final, cast

import click

from vyrox.chain import verify as verifier
from vyrox.chain.entry import Stream
from vyrox.chain.evidence import KEYS_NAME, RETAINED_NAME
from vyrox.chain.reading import STREAMS
from vyrox.cli.audit_earlier import Joined, day_of, join_earlier, keys_in_force
from vyrox.cli.audit_source import Source, Wanted, from_database, from_service
from vyrox.cli.choices import Choice
from vyrox.cli.options import since_option, tenant_argument
from vyrox.cli.secret_input import read_secret_lines
from vyrox.errors import OperatorError
from vyrox.settings import Settings
from vyrox.store.data_dir import open_private

MAX_KEY: Final = 256
VERIFIER_NAME: Final = "verify_audit.py"
UNDATED: Final = "1970-01-01"
"""The day of entries without a readable time at the beginning of the export."""


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
    "--key-stdin", is_flag=True, help="Sign for --url with a reader's key from standard input."
)
@click.option(
    "--stream",
    type=Choice([*STREAMS, "both"]),
    default="both",
    show_default=True,
    help="Which of the two chains. Both together show who approved.",
)
@since_option("Only entries")
def export(
    tenant_id: str, directory: Path, url: str | None, key_stdin: bool, stream: str, since: int
) -> None:
    """Write TENANT's log to daily files, with its checkpoints and keys, and a verifier.

    The actions are in audit-YYYY-MM-DD.jsonl, the events in events-YYYY-MM-DD.jsonl; of one stream
    alone, both are named audit. With --since the verifier needs the proofs, which are written too.
    If the directory has files that are not the beginning of this export, nothing is written: the
    files may be the only proof that the log was changed since.
    """
    if key_stdin and url is None:
        raise click.UsageError("--key-stdin needs --url.")
    # The events first: a dispatch that is among them must find its action.
    streams: tuple[Stream, ...] = ("events", "actions")
    if stream != "both":
        streams = (cast("Stream", stream),)
    source = _source(Wanted(tenant_id, streams, since), url, key_stdin=key_stdin)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=directory) as fresh:
            writing = _write(source, streams, Path(fresh), directory, is_whole=not since)
            count, kept = asyncio.run(writing)
            _take_over(Path(fresh), directory, _prefixes(streams), kept)
            if count == 0:
                raise click.UsageError(f"{tenant_id} has no entries: nothing to verify.")
            write_verifier(Path(fresh) / VERIFIER_NAME)
            (Path(fresh) / VERIFIER_NAME).replace(directory / VERIFIER_NAME)
    except OSError as exc:
        raise OperatorError(f"{exc.filename or directory}: {exc.strerror}") from exc
    for hint in _hints(directory, streams):
        click.echo(hint, err=True)
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


def _hints(directory: Path, streams: tuple[Stream, ...]) -> Iterator[str]:
    missing = [each for each in streams if not (directory / f"checkpoint-{each}.txt").exists()]
    if missing:
        yield (
            f"without a checkpoint of the {' and '.join(sorted(missing))}: the service makes its "
            "key for checkpoints when it starts, and an older one signs none"
        )


def _source(
    wanted: Wanted, url: str | None, *, key_stdin: bool
) -> AbstractAsyncContextManager[Source]:
    if url is None:
        return from_database(wanted)
    if key_stdin:
        [key] = read_secret_lines(["key"], MAX_KEY)
    else:
        key = Settings.from_process().require_reading_secret()
    return from_service(wanted, url, key)


async def _write(
    opened: AbstractAsyncContextManager[Source],
    streams: tuple[Stream, ...],
    fresh: Path,
    directory: Path,
    *,
    is_whole: bool,
) -> tuple[int, Sequence[Path]]:
    """Write the entries of each stream and what belongs beside them.

    Return how many there are, and which files of an earlier export in `directory` belong to them.
    """
    prefixes = _prefixes(streams)
    joined: dict[Stream, Joined] = {}
    count = 0
    async with opened as source:
        for stream in streams:
            lines = await source.lines(stream)
            if lines is None:
                continue
            count += await write_daily_files(lines, fresh, prefixes[stream])
            found = Joined(source.first(stream))
            if stream == "events" and is_whole:
                where = (fresh, directory, prefixes[stream], found.first)
                found = await asyncio.to_thread(join_earlier, *where)
            count += source.first(stream) - found.first
            joined[stream] = found
        if count:
            for stream, found in joined.items():
                await _write_beside(source, stream, found.first, fresh)
            in_force = None
            if "events" in joined and is_whole:
                place = (fresh, directory, prefixes["events"], joined["events"])
                in_force = await asyncio.to_thread(keys_in_force, *place)
            keys = await source.keys(in_force)
            if keys is not None:
                write_file(fresh / KEYS_NAME, keys)
    return count, joined["events"].kept if "events" in joined else ()


async def _write_beside(source: Source, stream: Stream, first: int, directory: Path) -> None:
    for name, content in (await source.evidence(stream, first)).items():
        write_file(directory / name, content)
    # One that was joined has them from before, or needs none.
    if stream == "events" and first == source.first(stream):
        retained = await source.retained()
        if retained is not None:
            with _new_file(directory / RETAINED_NAME) as file:
                async for lines in retained:
                    file.write(lines)


def _prefixes(streams: tuple[Stream, ...]) -> dict[Stream, str]:
    """Return how the names of each stream's daily files begin."""
    return {each: each if each == "events" and len(streams) > 1 else "audit" for each in streams}


def write_file(path: Path, content: bytes) -> None:
    """Write a file (0600) that belongs beside the entries."""
    with _new_file(path) as file:
        file.write(content)


def write_verifier(path: Path) -> None:
    """Write the verifier, so that it can be run."""
    path.write_bytes(files("vyrox.chain").joinpath("verify.py").read_bytes())
    path.chmod(0o700)


def _take_over(
    fresh: Path, directory: Path, prefixes: Mapping[Stream, str], kept: Sequence[Path]
) -> None:
    """Move the files of `fresh` to `directory`, where entries may only be added to what is there.

    Args:
        kept: Files there that belong to the export as they are.

    Raises:
        OperatorError: They do not; nothing was moved.
    """
    there = ((s, file) for s, p in prefixes.items() for file in directory.glob(f"{p}-*.jsonl"))
    for stream, file in there:
        if file not in kept and not _begins_with(fresh / file.name, file):
            why = "is not the beginning of this export"
            if stream == "events" and (fresh / RETAINED_NAME).exists():
                why += ", in which the events begin after an archive"
            raise OperatorError(
                f"{file} {why}, so nothing was written: keep it, and export to another directory"
            )
    # The oldest first, so that at any moment the files there are one chain; then the checkpoints,
    # because those of before are right for the longer chain too.
    for file in sorted(fresh.iterdir(), key=lambda each: (each.suffix != ".jsonl", each.name)):
        file.replace(directory / file.name)


def _begins_with(file: Path, beginning: Path) -> bool:
    if not file.exists():
        return False
    with file.open("rb") as whole, verifier.open_regular(beginning) as part:
        while chunk := part.read(verifier.CHUNK_BYTES):
            if whole.read(len(chunk)) != chunk:
                return False
    return True


async def write_daily_files(lines: AsyncIterator[bytes], directory: Path, prefix: str) -> int:
    """Write each line to the file of its UTC day; return how many there were.

    What was tampered with is written like the rest, for the verifier to find: a line without a
    readable time goes to the file of the line before it.
    """
    count = 0
    day = UNDATED
    file: BinaryIO | None = None
    try:
        async for line in lines:
            of_line = day_of(line) or day
            if file is None or of_line != day:
                if file is not None:
                    file.close()
                day = of_line
                file = _new_file(directory / f"{prefix}-{day}.jsonl")
            file.write(line + b"\n")
            count += 1
    finally:
        if file is not None:
            file.close()
    return count


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")
