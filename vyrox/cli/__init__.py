"""The `vyrox` command: a table of all commands, of which the one that runs is imported.

An expected error is one line on standard error and exit code 1; a usage error is exit code 2.
"""

import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from vyrox.cli.folding import say
from vyrox.cli.groups import NAMED_TENANT, Lazy, LazyGroup
from vyrox.errors import (
    DatabaseUnavailableError,
    OperatorError,
    QueueUnavailableError,
    UnavailableError,
    VyroxError,
)

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it."""


class _Commands(LazyGroup):
    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None
    ) -> NoReturn:
        """Run the command and exit. Ctrl-C ends it without a word."""
        try:
            code = super().main(args, prog_name, standalone_mode=False)
        except click.ClickException as exc:
            exc.show()
            sys.exit(exc.exit_code)
        except click.Abort as exc:
            # Click raises the same for a no, Ctrl-D and Ctrl-C.
            if isinstance(exc.__cause__ or exc.__context__, KeyboardInterrupt):
                sys.exit(INTERRUPTED)
            click.echo("Aborted!", err=True)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)  # else click prints an empty line
        except VyroxError as exc:
            which = next((text for kind, text in _STORES.items() if isinstance(exc, kind)), "")
            say(f"vyrox: {which}{exc}{_hint(ctx, exc)}")
            ctx.exit(exc.exit_code if isinstance(exc, OperatorError) else 1)


def _hint(context: click.Context, error: VyroxError) -> str:
    """Return what an error lacks: about a tenant that may be mistyped, or who is not permitted."""
    if isinstance(error.__cause__, PermissionError):
        from vyrox.cli.options import user_name

        return f" (for the user {user_name()}, who runs this)"  # a wrapper may have changed it
    tenant_id = context.meta.get(NAMED_TENANT)
    if tenant_id is None or "did you mean" in str(error) or isinstance(error, UnavailableError):
        return ""
    from vyrox.cli.mistyped import hint_of

    return hint_of(tenant_id)


_STORES: Final[dict[type[VyroxError], str]] = {
    DatabaseUnavailableError: "the database is unavailable: ",
    QueueUnavailableError: "Redis is unavailable: ",
}

_ALERT: Final = LazyGroup(
    "alert",
    "Alerts of all tenants, and what people decided about them.",
    {
        "finish": Lazy("alert:finish", "Record your verdict, and take alerts off the queue."),
        "list": Lazy("alert:list_", "List alerts, newest first."),
        "show": Lazy("alert:show", "Show everything about one alert."),
        "watch": Lazy("alert_watch:watch", "Print new alerts as they come, or run a command."),
    },
)
_APPROVAL: Final = LazyGroup(
    "approval",
    "Proposals: one action on one device, for people to decide on.",
    {
        "list": Lazy("approval:list_", "List proposals that are open, newest first."),
        "propose": Lazy("approval:propose_", "Propose an action, or what an incident suggests."),
        "show": Lazy("approval:show_", "Show PROPOSAL, its state and what became of it."),
        "withdraw": Lazy("approval:withdraw_", "Take back a proposal that is not decided."),
    },
)
_APPROVER: Final = LazyGroup(
    "approver",
    "Who may decide on a tenant's proposals.",
    {
        "add": Lazy("approver:add", "Let NAME decide, and print a link for a passkey."),
        "confirm": Lazy("approver:confirm", "Let NAME's new passkey decide, once you compared it."),
        "drill": Lazy("drill:drill", "Ask for an answer without effect: who can, and how fast."),
        "link": Lazy("approver:link", "Print a new link for NAME, for a further passkey."),
        "list": Lazy("approver:list_", "List who may decide, their passkeys, and what waits."),
        "remove": Lazy("approver:remove", "Take NAME off the list."),
        "reset": Lazy("approver:reset", "Take NAME's passkeys away, and print a new link."),
        "sign-out": Lazy("approver:sign_out", "End NAME's sessions in the console."),
    },
)
_AUDIT: Final = LazyGroup(
    "audit",
    "The audit log: a chain of actions and one of events.",
    {
        "archive": Lazy("audit_archive:archive", "Move old events into files, verified first."),
        "events": Lazy("audit:events", "Show events: alerts, refusals, outcomes, changes."),
        "export": Lazy(
            "audit_export:export", "Write TENANT's actions to daily files, with a verifier."
        ),
        "key": Lazy("audit_key:key", "Print the keys that verify the checkpoints of TENANT."),
        "prove": Lazy("audit_prove:prove", "Prove that an entry is in the log, or that it grew."),
        "reader": Lazy("audit_key:reader", "Make a key that reads TENANT's log, and nothing else."),
        "verify": Lazy("audit:verify", "Verify an export or, with --live, the database."),
        "watch": Lazy("audit_watch:watch", "Watch a tenant's log as a witness, and co-sign it."),
    },
)
_CONSOLE: Final = LazyGroup(
    "console",
    "The pages that people open in a browser.",
    {"link": Lazy("console:link", "Print a link with which NAME signs in once to look.")},
)
_DEAD: Final = LazyGroup(
    "dead",
    "Dead letters: alerts delivered five times, never acknowledged.",
    {
        "list": Lazy("dead:list_dead", "List TENANT's dead letters, oldest first."),
        "revive": Lazy("dead:revive", "Queue TENANT's dead letters again, all or some."),
    },
)
_QUARANTINE: Final = LazyGroup(
    "quarantine",
    "Authentic payloads that got 422.",
    {
        "dismiss": Lazy("quarantine:dismiss", "Mark payloads as not worth a replay."),
        "list": Lazy("quarantine:list_", "List TENANT's quarantined payloads, oldest first."),
        "replay": Lazy("quarantine_replay:replay", "Try TENANT's payloads again, all or some."),
        "show": Lazy("quarantine:show", "Show the reason and the body of TENANT's payloads."),
    },
)
_QUEUE: Final = LazyGroup(
    "queue",
    "The alert queue.",
    {
        "dead": _DEAD,
        "peek": Lazy("queue:peek", "Show TENANT's oldest queued alerts, and leave them queued."),
        "quarantine": _QUARANTINE,
        "stats": Lazy("queue_stats:stats", "Count each tenant's alerts by state."),
    },
)
_DISCORD: Final = LazyGroup(
    "discord",
    "The channel in which TENANT's proposals are shown.",
    {
        "check": Lazy("discord:check", "Check each point of TENANT's channel; say what to do."),
        "remove": Lazy("discord:remove", "Show TENANT's proposals no longer."),
        "setup": Lazy("discord:setup", "Show TENANT's proposals in a channel, with buttons."),
    },
)
_EDR: Final = LazyGroup(
    "edr",
    "The credentials with which Vyrox acts at a tenant's vendor.",
    {
        "check": Lazy("edr:check", "Call the vendor, change nothing, and list the permissions."),
        "list": Lazy("edr_list:list_", "List which tenant has credentials for which vendor."),
        "remove": Lazy("edr:remove", "Delete TENANT's credentials for a vendor."),
        "set": Lazy("edr:set_", "Store credentials in place of earlier ones."),
    },
)
_INCIDENT: Final = LazyGroup(
    "incident",
    "Incidents: alerts that belong together, and what people do with them.",
    {
        "ack": Lazy("incident:ack", "Take INCIDENT: you become its assignee."),
        "close": Lazy("incident:close", "Close INCIDENT, and say what it was."),
        "comment": Lazy("incident:comment", "Add TEXT to the timeline of INCIDENT."),
        "list": Lazy("incident:list_", "List incidents, those that are not closed first."),
        "merge": Lazy("incident:merge", "Make two incidents one."),
        "move": Lazy("incident:move", "Move alerts to another incident, or to a new one."),
        "reopen": Lazy("incident:reopen", "Open a closed INCIDENT again."),
        "show": Lazy("incident:show", "Show INCIDENT: reasons, timeline, proposed action."),
    },
)
_LEASE: Final = LazyGroup(
    "lease",
    "Containments that end by themselves.",
    {
        "end": Lazy("lease:end", "Propose to lift HOST now."),
        "extend": Lazy("lease:extend", "Propose a later end for the containment of HOST."),
        "list": Lazy("lease:list_", "List what is contained until when."),
    },
)
_MAP: Final = LazyGroup(
    "map",
    "How a payload becomes an alert: try it, without a service.",
    {
        "suggest": Lazy("payload_map:suggest_", "Suggest a field map for the payload in FILE."),
        "test": Lazy("payload_map:test", "Show the alert in FILE, and where its fields are from."),
    },
)
_NOTIFY: Final = LazyGroup(
    "notify",
    "Where TENANT's notifications go: signed webhooks, and channels such as Slack.",
    {
        "add": Lazy("notify:add", "Add a target. Its URL is read from standard input."),
        "list": Lazy("notify:list_", "List TENANT's targets, and what was not delivered."),
        "remove": Lazy("notify:remove", "Remove a target."),
        "test": Lazy("notify_try:test", "Send a test message now, and print what happened."),
    },
)
_TENANT: Final = LazyGroup(
    "tenant",
    "Tenants, their secrets and guard rails.",
    {
        "add": Lazy("tenant:add", "Onboard TENANT for a vendor, and print its secret once."),
        "check": Lazy("tenant_check:check", "Show whether TENANT's alerts arrive; say what to do."),
        "edr": _EDR,
        "explain": Lazy(
            "tenant_explain:explain", "Find out why a signature of TENANT's sender is refused."
        ),
        "field-map": Lazy(
            "field_map:field_map", "Replace TENANT's field map with the one in FILE."
        ),
        "freeze": Lazy(
            "guard_rails:freeze", "Refuse every action on TENANT's hosts until unfreeze."
        ),
        "list": Lazy("tenant_list:list_", "List tenants: their state, limits and last alerts."),
        "notify": _NOTIFY,
        "policy": Lazy("policy:policy", "Show or change TENANT's guard rails."),
        "poll": Lazy("poll:poll", "Pull TENANT's alerts from a vendor, or show how that goes."),
        "remove": Lazy("tenant_remove:remove", "Stop accepting TENANT's alerts from a vendor."),
        "rotate": Lazy(
            "tenant:rotate", "Give TENANT a new secret; the old one is valid for a while."
        ),
        "set": Lazy("webhook_options:set_", "Change how TENANT's deliveries are authenticated."),
        "show": Lazy("tenant_show:show", "Show all that is set for TENANT, one fact a line."),
        "unfreeze": Lazy("guard_rails:unfreeze", "Allow approved actions on TENANT's hosts again."),
    },
)
_SIGMA: Final = LazyGroup(
    "sigma",
    "Sigma rules of your own, an optional part.",
    {"check": Lazy("sigma:check", "List which rules in DIR can be used, and why not.")},
)
_TRIAGE: Final = LazyGroup(
    "triage",
    "How alerts are judged, and what people have decided about it.",
    {
        "confirm": Lazy("suppress:confirm", "Confirm a suppression as the second person."),
        "disable": Lazy("triage_rules:disable", "Switch a signal off for a tenant."),
        "enable": Lazy("triage_rules:enable", "Switch a signal on again."),
        "evaluate": Lazy("triage:evaluate", "Measure the verdicts on labelled alerts."),
        "explain": Lazy("explain:explain_", "Show why an alert has its score and band."),
        "review": Lazy("explain:review", "Show the sample of closed alerts, for your verdict."),
        "sigma": _SIGMA,
        "signals": Lazy("triage_rules:signals", "List the signals with their weights."),
        "suppress": Lazy("suppress:suppress_", "Close alerts that are normal at TENANT."),
        "suppressed": Lazy("suppress:suppressed", "List suppressions and what they have hidden."),
        "try": Lazy("triage:try_", "Judge the alerts in a file; needs no service."),
        "unsuppress": Lazy("suppress:unsuppress", "End a suppression."),
    },
)
_VIEWER: Final = LazyGroup(
    "viewer",
    "Who may see a tenant's pages and decide nothing.",
    {
        "add": Lazy("viewer:add", "Let NAME see TENANT in the console."),
        "list": Lazy("viewer:list_", "List who may see TENANT."),
        "remove": Lazy("viewer:remove", "Let NAME see TENANT no longer."),
    },
)

cli: Final = _Commands(
    "vyrox",
    "EDR alerts in without losing one, approved containment out exactly once.",
    {
        "alert": _ALERT,
        "approval": _APPROVAL,
        "approver": _APPROVER,
        "audit": _AUDIT,
        "backup": Lazy("backup:backup", "Make a backup in a new directory; the service may run."),
        "doctor": Lazy("doctor:doctor", "Check the whole installation, and say what to do."),
        "config": Lazy("config:config", "Show every setting, and where its value came from."),
        "completion": Lazy(
            "completion:completion", "Print what lets a shell complete commands and options."
        ),
        "console": _CONSOLE,
        "contained": Lazy("contained:contained", "Show what is contained now, and why."),
        "demo": Lazy("demo:demo", "Show the main job end to end."),
        "discord": _DISCORD,
        "encrypt-again": Lazy(
            "encrypt_again:encrypt_again_", "Encrypt all stored secrets with the first key."
        ),
        "execute": Lazy("execute:execute", "Carry out an approved containment."),
        "fake-discord": Lazy(
            "fake_discord:fake_discord", "Serve a fake Discord, for tests, until stopped."
        ),
        "generate-key": Lazy("service:generate_key", "Print a new key for VYROX_ENCRYPTION_KEY."),
        "health": Lazy("health:health", "Ask whether an alert would be accepted now."),
        "incident": _INCIDENT,
        "lease": _LEASE,
        "lift": Lazy("execute:lift", "Undo a containment."),
        "map": _MAP,
        "migrate": Lazy("service:migrate", "Bring the database's schema up to date."),
        "mock-edr": Lazy("mock_edr:mock_edr", "Serve a mock of the vendors' clouds until stopped."),
        "queue": _QUEUE,
        "restore": Lazy("backup:restore", "Restore a backup into an empty data directory."),
        "serve": Lazy("service:serve", "Serve all listeners until SIGTERM."),
        "simulate": Lazy(
            "vyrox.trial.simulate.command:simulate", "Send signed sample alerts to a service."
        ),
        "status": Lazy("status:status", "Show how the service is; exits with 0 if all is well."),
        "tenant": _TENANT,
        "triage": _TRIAGE,
        "viewer": _VIEWER,
    },
)
click.version_option(package_name="vyrox")(cli)


def main() -> None:
    """Run the command line and exit."""
    cli(prog_name="vyrox")
