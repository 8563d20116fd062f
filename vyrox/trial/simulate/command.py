"""The `vyrox simulate` command: send, or only show, signed detections."""

import ipaddress
import re
from typing import Final, get_args
from uuid import uuid4

import click
import httpx
import msgspec

from vyrox.clock import wall_clock
from vyrox.ids import is_tenant_id
from vyrox.models import BEARER_VENDORS, Vendor
from vyrox.trial.simulate.request import SignedRequest, build_request
from vyrox.trial.simulate.scenarios import SCENARIOS, scenario_of
from vyrox.trial.simulate.sending import posted
from vyrox.trial.simulate.stages import Scenario

TIMEOUT_S: Final = 10
"""How long each step may take: to connect, to send, to wait for the response."""

_BEARER_SECRET = re.compile(r"[!-~]+", re.ASCII)
"""What a header can carry. A client's own complaint about it would print the secret."""


class _Queued(msgspec.Struct):
    alert_id: str


class _Refused(msgspec.Struct):
    detail: str


_queued_decoder = msgspec.json.Decoder(_Queued)
_refused_decoder = msgspec.json.Decoder(_Refused)


def _print_scenarios(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    click.echo(f"{'NAME':<20}  {'VENDOR':<11}  {'STAGES':<6}  DESCRIPTION")
    for each in SCENARIOS.values():
        row = f"{each.name:<20}  {each.vendor:<11}  {len(each.stages):<6}  {each.description}"
        click.echo(row)
    ctx.exit()


def _check_url(_: click.Context, __: click.Parameter, url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    unwanted = parsed.userinfo or parsed.query or parsed.fragment
    if parsed.scheme not in {"http", "https"} or not parsed.host or unwanted:
        raise click.BadParameter("must be an http:// or https:// URL, the part before /crowdstrike")
    return url


def _check_tenant(_: click.Context, __: click.Parameter, tenant_id: str) -> str:
    if not is_tenant_id(tenant_id):
        raise click.BadParameter("must be 1 to 128 letters, digits, dots, underscores and hyphens")
    return tenant_id


@click.command(
    epilog="Exits with 0 if every detection got 202, else with 1; with 2 for a usage error."
)
@click.argument(
    "scenario_name", metavar="SCENARIO", required=False, type=click.Choice(list(SCENARIOS))
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_scenarios,
    help="List the scenarios and exit.",
)
@click.option(
    "--url",
    envvar="VYROX_URL",
    show_envvar=True,
    default="http://localhost:8001/webhook",
    show_default=True,
    callback=_check_url,
    help="Webhook base: the part before /crowdstrike.",
)
@click.option(
    "--tenant",
    envvar="VYROX_TENANT_ID",
    show_envvar=True,
    default="acme-corp",
    show_default=True,
    callback=_check_tenant,
    help="Tenant identifier.",
)
@click.option(
    "--secret",
    help="HMAC secret or bearer token. Other users can read a command line: better set the vendor's"
    " variable, such as CROWDSTRIKE_WEBHOOK_SECRET.",
)
@click.option(
    "--vendor",
    type=click.Choice(get_args(Vendor)),
    help="Send it as this vendor's product reports it.  [default: as --list says]",
)
@click.option("--stage", type=click.IntRange(min=1), help="Send only this stage.  [default: 1]")
@click.option("--all-stages", is_flag=True, help="Send every stage, in order.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing; print the request. Its last line, without the line end, is the body as"
    " signed. A SentinelOne or Defender request shows the secret: it is the bearer token.",
)
@click.pass_context
def simulate(
    ctx: click.Context,
    scenario_name: str | None,
    url: str,
    tenant: str,
    secret: str | None,
    vendor: Vendor | None,
    stage: int | None,
    all_stages: bool,
    dry_run: bool,
) -> None:
    """Send SCENARIO's signed detections to the public listener of a running service.

    Each run sends new identifiers and times, so no detection counts as a redelivery.
    """
    if scenario_name is None:
        raise click.UsageError("Missing argument 'SCENARIO'; see --list.")
    scenario = scenario_of(scenario_name, vendor)
    stages = _chosen_stages(scenario, stage, all_stages)
    secret = _checked_secret(ctx, scenario.vendor, secret)
    with _client(url) as client:
        for number in stages:
            request = build_request(
                scenario, number, tenant, secret, url, now=wall_clock(), new_id=uuid4()
            )
            if dry_run:
                click.echo(_as_text(request, first=number == stages[0]))
            else:
                click.echo(f"stage {number}: 202 queued {_send(client, request, number)}")
    if len(scenario.stages) > 1 and stage is None and not all_stages:
        click.echo(
            f"{scenario.name} has {len(scenario.stages)} stages, and this was the first:"
            " see --stage and --all-stages",
            err=True,
        )


def _client(url: str) -> httpx.Client:
    """Return a client that takes a proxy from the environment only if `url` is of another host."""
    transport = httpx.HTTPTransport() if _is_loopback(httpx.URL(url).host) else None
    return httpx.Client(timeout=TIMEOUT_S, transport=transport)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _chosen_stages(scenario: Scenario, stage: int | None, all_stages: bool) -> range:
    count = len(scenario.stages)
    if stage is not None and all_stages:
        raise click.UsageError("Give either --stage or --all-stages.")
    if stage is not None and stage > count:
        raise click.UsageError(f"--stage: {scenario.name} has {count} stage(s), not {stage}.")
    if all_stages:
        return range(1, count + 1)
    return range(stage or 1, (stage or 1) + 1)


def _checked_secret(ctx: click.Context, vendor: Vendor, secret: str | None) -> str:
    """Return the secret from the command line, else from the vendor's variable.

    Never from VYROX_HMAC_SECRET: it signs containment, and a bearer token is sent as it is.
    """
    variable = f"{vendor.upper()}_WEBHOOK_SECRET"
    if secret is None:
        # Which variable counts depends on the scenario, so the option is asked only here.
        secret = click.Option(["--secret"], envvar=variable).resolve_envvar_value(ctx)
    if not secret:
        raise click.UsageError(
            f"No secret: set {variable} or give --secret, as `vyrox tenant add` has printed it."
        )
    if secret != secret.strip():
        raise click.UsageError(f"--secret ({variable}) must not begin or end with white space.")
    if vendor in BEARER_VENDORS and _BEARER_SECRET.fullmatch(secret) is None:
        raise click.UsageError("The secret is a bearer token: printable ASCII without spaces.")
    return secret


def _as_text(request: SignedRequest, first: bool) -> str:
    """Return the request as it goes over the wire; a blank line parts it from one before it."""
    lines = [f"{request.method} {request.url}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += ["", request.body.decode("ascii")]
    return "\n".join(lines if first else ["", *lines])


def _send(client: httpx.Client, request: SignedRequest, number: int) -> str:
    """Send the request and return the alert id it was given.

    Raises:
        click.ClickException: Anything but a documented 202. After a lost connection the service
            may still have taken the detection.
    """
    try:
        response = posted(client, request)
    except httpx.HTTPError as exc:
        reason = _shown(str(exc)) or type(exc).__name__
        if isinstance(exc, httpx.ConnectError):
            reason = f"no connection ({reason}): is the service running?"
        raise click.ClickException(f"stage {number}: {request.url}: {reason}") from exc
    try:
        if response.status_code == httpx.codes.ACCEPTED:
            return _shown(_queued_decoder.decode(response.content).alert_id)
        detail = _refused_decoder.decode(response.content).detail
    except (ValueError, RecursionError):
        detail = "not a response of Vyrox: is --url the webhook base?"
    raise click.ClickException(f"stage {number}: {response.status_code} {_shown(detail)}")


def _shown(text: str) -> str:
    """Return `text` from a server as the terminal may get it."""
    return "".join(c if c.isprintable() else "?" for c in text)
