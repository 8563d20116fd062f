"""`vyrox tenant explain`: why a signature or a token is refused; no service (contract 84)."""

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, get_args

import click
import msgspec

from vyrox.cli.choices import Choice
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import counted, json_option, print_json, printable
from vyrox.cli.secret_input import is_terminal, read_secret_lines
from vyrox.cli.stores import opened_database
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.models import BEARER_VENDORS, Vendor
from vyrox.settings import Settings
from vyrox.settings.values import MAX_SECRET_BYTES
from vyrox.tenants.fingerprints import DIGITS
from vyrox.tenants.known import require_known
from vyrox.tenants.malformed import how_malformed
from vyrox.tenants.stored_secrets import Stored, read_stored
from vyrox.tenants.suspects import (
    MAX_BODY_BYTES,
    Around,
    Match,
    Secret,
    digest_of,
    find_match,
    find_token,
)
from vyrox.tenants.webhook_options import WebhookOptions

_FORMS: Final = {
    "upper_case": "its hex digits or its prefix are in upper case",
    "base64": "it is Base64, and hex is expected",
    "no_prefix": "its prefix is missing (sha256= or v1,)",
    "blanks": "white space or quotes are in it",
    "length": "it is too long or too short",
    "characters": "it has characters that no signature has",
    "hex": "it is hex, and Base64 is expected",
    "prefix": "it has a prefix, and none is expected",
}
"""In words, in which way a signature is malformed."""


class _Explained(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        is_right: The delivery would be accepted.
        form: In which way the signature is malformed.
        signed_with: Whose secret; None: none that is known.
        mistakes: In words.
        tried: How many secrets.
        secret_sha256: The first digits for the tenant's present secret.
    """

    tenant_id: str
    vendor: Vendor
    is_right: bool
    form: str | None
    signed_with: str | None
    mistakes: tuple[str, ...]
    tried: int
    body_bytes: int | None
    secret_sha256: str | None


@click.command("explain")
@tenant_argument
@click.option("--vendor", required=True, type=Choice(get_args(Vendor)), help="The vendor.")
@click.option("--signature", help="The value of the signature's header, as it was sent.")
@click.option(
    "--token", "is_token", is_flag=True, help="Ask for the bearer token, or read it in place of it."
)
@click.option("--timestamp", default="", help="The time that is signed too, as it was sent.")
@click.option("--message-id", default="", help="The webhook-id, as it was sent.")
@json_option
def explain(
    tenant_id: str,
    vendor: Vendor,
    signature: str | None,
    is_token: bool,
    timestamp: str,
    message_id: str,
    as_json: bool,
) -> None:
    """Find out why the signature of a delivery to TENANT is refused. The body is standard input.

    It tries the usual mistakes: a line end in the secret or the body, a secret that was decoded, a
    previous one, another tenant's, JSON that was encoded again. It needs the service's database and
    key, and no service, and prints no secret. Exits with 1 if the delivery would be refused.
    """
    if (signature is None) == (not is_token):
        raise click.UsageError("Give either '--signature' or '--token'.")
    if is_token and vendor not in BEARER_VENDORS:
        raise click.UsageError(f"{vendor} sends no token: give '--signature'.")
    content = _read_token() if signature is None else _read_body()
    stored = asyncio.run(_read_stored(tenant_id))
    own = next(
        (each for each in stored if (each.tenant_id, each.vendor) == (tenant_id, vendor)), None
    )
    options = WebhookOptions() if own is None else own.options
    secrets = list(_suspects(tenant_id, vendor, stored))
    present = None if own is None else own.present
    form = None
    if signature is None:
        match = find_token(content, secrets)
    else:
        form = _form(signature, vendor, options)
        digest = digest_of(signature)
        around = _around(options, _bytes(timestamp), _bytes(message_id))
        match = None if digest is None else find_match(digest, content, secrets, around)
    found = _Explained(
        tenant_id=tenant_id,
        vendor=vendor,
        is_right=_is_right(match, form),
        form=form,
        signed_with=None if match is None else match.secret.whose,
        mistakes=() if match is None else match.mistakes,
        tried=len(secrets),
        body_bytes=None if signature is None else len(content),
        secret_sha256=None if present is None else sha256(present).hexdigest()[:DIGITS],
    )
    if as_json:
        print_json(found)
    else:
        for line in _lines(found, own):
            click.echo(printable(line))
    if not found.is_right:
        raise click.exceptions.Exit(1)


def _read_token() -> bytes:
    [token] = read_secret_lines(["token"], 2 * MAX_SECRET_BYTES)
    return _bytes(token)


def _bytes(text: str) -> bytes:
    """Return the bytes of an argument as they were typed, also those that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _read_body() -> bytes:
    if is_terminal():
        click.echo("the body, then Ctrl-D:", err=True)
    with click.open_file("-", "rb") as stdin:
        body: bytes = stdin.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise OperatorError(f"the body has more than {MAX_BODY_BYTES} bytes")
    return body


async def _read_stored(tenant_id: str) -> list[Stored]:
    async with opened_database() as opened:
        await opened.database.read(require_known, tenant_id)
        return await opened.database.read(read_stored, await open_vault(opened))


def _suspects(tenant_id: str, vendor: Vendor, stored: Sequence[Stored]) -> Iterator[Secret]:
    """Yield the secrets that may have signed, the likely ones first."""
    settings, now = Settings.from_process(), wall_clock()
    others = []
    for each in stored:
        is_own = (each.tenant_id, each.vendor) == (tenant_id, vendor)
        if is_own:
            yield from _own(each, now)
        else:
            others.append(each)
    is_onboarded = any(each.tenant_id == tenant_id for each in stored)
    for of_vendor, default in settings.default_secrets.items():
        is_valid = of_vendor == vendor and not is_onboarded and not settings.require_onboarding
        yield Secret(f"the default secret of {of_vendor}", default, of_vendor == vendor, is_valid)
    for variable, secret in settings.private_secrets().items():
        yield Secret(f"{variable}, which is for the private listener", secret.encode(), True, False)
    for each in others:
        whose = f"{each.tenant_id} for {each.vendor}"
        named = (("present", each.present), ("previous", each.previous), ("removed", each.removed))
        for which, value in named:
            if value is not None:
                yield Secret(f"the {which} secret of {whose}", value, False, False)


def _own(stored: Stored, now: float) -> Iterator[Secret]:
    if stored.present is not None:
        yield Secret("the present secret", stored.present, True, True)
    if stored.previous is not None:
        is_valid = now < stored.previous_until
        state = "still valid" if is_valid else "not valid any more"
        yield Secret(f"the previous secret, {state}", stored.previous, True, is_valid)
    if stored.removed is not None:
        yield Secret("the secret of before the removal", stored.removed, True, False)
    if stored.text is not None:
        whose = "the present secret as text, and not as the Base64 that it holds"
        yield Secret(whose, stored.text, True, False)


def _form(signature: str, vendor: Vendor, options: WebhookOptions) -> str | None:
    names = {"vyrox": "x-vyrox-signature", "standard": "webhook-signature"}
    name = names.get(options.signature, options.signature_header)
    is_bearer = vendor in BEARER_VENDORS
    headers = [((b"x-vyrox-signature" if is_bearer else name.encode()), _bytes(signature))]
    # A vendor with tokens may be signed too; then the form is the usual one.
    return how_malformed(headers, "generic" if is_bearer else vendor, options, own_path=True)


def _around(options: WebhookOptions, timestamp: bytes, message_id: bytes) -> Around:
    match options.signature:
        case "falcon":
            return Around(after=timestamp)
        case "falcon-hex":
            return Around(before=timestamp)
        case "standard":
            return Around(before=b"%b.%b." % (message_id, timestamp))
        case _:
            return Around()


def _is_right(match: Match | None, form: str | None) -> bool:
    return match is not None and not match.mistakes and match.secret.is_valid and form is None


def _lines(found: _Explained, own: Stored | None) -> Iterator[str]:
    size = "" if found.body_bytes is None else f" over these {counted(found.body_bytes, 'byte')}"
    what = "sent" if found.body_bytes is None else "signed"
    if found.is_right:
        yield f"right: {what} with {found.signed_with}{size}"
        return
    if found.form is not None:
        yield f"wrong: malformed ({found.form}): {_FORMS.get(found.form, found.form)}"
    for mistake in found.mistakes:
        yield f"wrong: {mistake}"
    if found.signed_with is not None:
        yield f"{what} with {found.signed_with}{'' if found.mistakes else size}"
    elif own is None or own.present is None:
        yield f"wrong: {found.tenant_id} has no secret for {found.vendor}"
        yield f"do: vyrox tenant add {found.tenant_id} --vendor {found.vendor}"
    else:
        yield f"wrong: no known secret fits{size}, with any of the usual mistakes"
        yield f"tried: {counted(found.tried, 'secret')}"
    if found.secret_sha256 is not None:
        yield f"compare: SHA-256 of the sender's secret must begin with {found.secret_sha256}"
