"""`vyrox audit prove`: that an entry is in the log, or that the log only grew (contract 94)."""

import asyncio
from base64 import b64decode
from typing import Final

import click
import httpx
import msgspec

from vyrox.chain.checkpoints import Checkpoints, Consistency, Inclusion
from vyrox.chain.entry import Stream
from vyrox.chain.reading import STREAMS
from vyrox.chain.tree import consistency_holds, inclusion_holds
from vyrox.cli.audit_fetch import TIMEOUT_S, AuditClient
from vyrox.cli.audit_key import open_signer
from vyrox.cli.choices import Choice
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import print_json
from vyrox.cli.secret_input import read_secret_lines
from vyrox.cli.stores import opened_database
from vyrox.clock import wall_clock
from vyrox.errors import NotFoundError, OperatorError
from vyrox.tenants.known import require_logged

MAX_KEY: Final = 256

_number = click.IntRange(min=0)


class _Asked(msgspec.Struct, frozen=True):
    tenant_id: str
    stream: Stream
    entry: int | None
    old_size: int | None
    size: int | None


@click.command()
@tenant_argument
@click.argument("entry", metavar="[ENTRY]", required=False, type=click.IntRange(min=1))
@click.option("--old-size", type=_number, help="Prove that the log grew from this size.")
@click.option("--size", type=_number, help="The size that is proven. Default: the present one.")
@click.option(
    "--stream", type=Choice(STREAMS), default="actions", show_default=True, help="The chain."
)
@click.option("--url", help="Ask the private listener, instead of reading the database.")
@click.option(
    "--key-stdin", is_flag=True, help="Read a reader's key for --url from standard input."
)
def prove(
    tenant_id: str,
    entry: int | None,
    old_size: int | None,
    size: int | None,
    stream: Stream,
    url: str | None,
    key_stdin: bool,
) -> None:
    """Print the proof that ENTRY of TENANT is in the log, or that the log grew from --old-size.

    The proof is checked before it is printed. docs/AUDIT_CHAIN.md says how to check it without
    Vyrox.
    """
    if (entry is None) is (old_size is None):
        raise click.UsageError("Give either ENTRY or --old-size.")
    if (url is None) is key_stdin:
        raise click.UsageError("--url and --key-stdin go together.")
    asked = _Asked(tenant_id, stream, entry, old_size, size)
    if url is None:
        found = asyncio.run(_from_database(asked))
    else:
        [secret] = read_secret_lines(["key"], MAX_KEY)
        found = asyncio.run(_from_service(asked, url, secret))
    if not _holds(found):
        raise OperatorError("the proof does not hold: somebody has changed the log")
    print_json(found)


async def _from_database(asked: _Asked) -> Inclusion | Consistency:
    chain = (asked.tenant_id, asked.stream)
    async with opened_database() as opened:
        await opened.database.read(require_logged, asked.tenant_id)
        found = Checkpoints(opened.database, wall_clock, await open_signer(opened))
        size = await found.length(*chain) if asked.size is None else asked.size
        try:
            if asked.entry is not None:
                return await found.inclusion(*chain, asked.entry, size)
            return await found.consistency(*chain, asked.old_size or 0, size)
        except NotFoundError as exc:
            raise OperatorError(
                f"{exc}: the {asked.stream} of {asked.tenant_id} are fewer"
            ) from exc


async def _from_service(asked: _Asked, url: str, secret: str) -> Inclusion | Consistency:
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
        client = AuditClient(http, url, asked.tenant_id, secret)
        if asked.entry is not None:
            return await client.inclusion(asked.stream, asked.entry, asked.size)
        return await client.consistency(asked.stream, asked.old_size or 0, asked.size)


def _holds(found: Inclusion | Consistency) -> bool:
    proof, root = [b64decode(each) for each in found.proof], b64decode(found.root)
    if isinstance(found, Inclusion):
        leaf = bytes.fromhex(found.hash)
        return inclusion_holds(found.entry - 1, found.size, leaf, proof, root)
    return consistency_holds(found.old_size, found.size, b64decode(found.old_root), root, proof)
