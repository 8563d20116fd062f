"""Bugs planted one at a time in a copy of the tree: each must turn a check red.

A crash test proves nothing until it was red once. The first five bugs break the audit log; the rest
break the promises about alerts, kills and shutdowns.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from chaos.part import Row, Size
from tests.service import ROOT

CHECK_LIMIT_S: Final = 300.0
COPIED: Final = ("vyrox", "tests", "chaos", "docs", "pyproject.toml", "verify_audit.py")

WRITER: Final = "tests/chain/test_writer.py"
CONTAINMENT: Final = "tests/containment/test_execution.py"
GROUP_COMMIT: Final = "tests/store/test_group_commit.py"
CRASHES: Final = "tests/alerts/test_crash_points.py"
SERVE: Final = "tests/test_serve.py"
PASSKEYS: Final = "tests/approvals/test_passkeys.py"
DISPATCH: Final = "tests/approvals/test_dispatch.py"
VERIFIER: Final = "tests/chain/test_verify_approvals.py"
CHECKPOINTS: Final = "tests/chain/test_verify_checkpoints.py"
DECIDING: Final = "tests/approvals/test_deciding.py"
ENROLMENT: Final = "tests/approvals/test_enrolment.py"
ENDORSING: Final = "tests/approvals/test_endorsing.py"
CONSOLE: Final = "tests/console/test_guard.py"
SESSIONS: Final = "tests/console/test_sessions.py"
LINKS: Final = "tests/console/test_links.py"
TENANTS_OF_PERSON: Final = "tests/console/test_tenants_of_person.py"
CLICKS: Final = "tests/approvals/discord/test_clicks.py"
MESSAGES: Final = "tests/approvals/discord/test_joining.py"
LEASES: Final = "tests/approvals/test_leases.py"
SCHEMES: Final = "tests/routes/test_schemes.py"
TENANT_PATHS: Final = "tests/routes/test_tenant_paths.py"
POLLERS: Final = "tests/pollers/test_polling.py"
FETCHING: Final = "tests/pollers/test_fetching.py"
GRAPH: Final = "tests/routes/test_graph.py"
DIRECTORY: Final = "tests/tenants/test_directory.py"
CHECK: Final = "tests/cli/test_check.py"
TOTALS: Final = "tests/triage/test_totals.py"
AUDIT_PAGE: Final = "tests/console/test_audit_page.py"
REPORTS: Final = "tests/console/test_reports.py"
SIGNED: Final = "tests/routes/test_checkpoints.py"
EXPLAINED: Final = "tests/routes/test_explain.py"
PRIVATE_SECRETS: Final = "tests/routes/test_private_secrets.py"
SENDERS: Final = "tests/http/test_senders.py"
WITNESS: Final = "tests/chain/test_witness.py"


class Mutant(msgspec.Struct, frozen=True):
    """One bug: `old`, which occurs once in `file`, becomes `new`.

    Attributes:
        checks: Parts of the harness, and files of tests.
    """

    name: str
    file: str
    old: str
    new: str
    checks: tuple[str, ...]


MUTANTS: Final = (
    Mutant(
        "the secret for reads signs changes too",
        "vyrox/tenants/private_secrets.py",
        'if verify(message, signature, secret) and (is_read or name != "read")',
        "if verify(message, signature, secret)",
        (PRIVATE_SECRETS,),
    ),
    Mutant(
        "every signed request gets an explanation",
        "vyrox/http/explaining.py",
        'request.scope["state"][_MEMBER] = asked == [b"1"]',
        'request.scope["state"][_MEMBER] = True',
        (EXPLAINED,),
    ),
    Mutant(
        "any peer may say from which address it sends",
        "vyrox/http/senders.py",
        "if not trusted or not _is_in(peer, trusted):",
        "if not trusted:",
        (SENDERS,),
    ),
    Mutant(
        "acknowledged, and the vendor called, before the commit",
        "vyrox/store/sqlite.py",
        '        execute_sqlite(connection, "COMMIT")\n'
        "        if connection.in_transaction():\n"
        "            connection.commit()\n",
        '        commit = partial(execute_sqlite, connection, "COMMIT")\n'
        "        if connection.in_transaction():\n"
        "            commit = connection.commit\n"
        "        threading.Thread(target=commit).start()\n",
        ("disk", WRITER),
    ),
    Mutant(
        "no task of its own around the write",
        "vyrox/store/group_commit.py",
        "        return await future\n",
        "        while batch := self._take():\n"
        "            await self._write_batch(batch)\n"
        "        return await future\n",
        (GROUP_COMMIT, WRITER),
    ),
    Mutant(
        "no task of its own around the action",
        "vyrox/containment/execution.py",
        "        return await asyncio.shield(task)\n",
        "        return await task\n",
        (CONTAINMENT,),
    ),
    Mutant(
        "retried after a failed commit",
        "vyrox/chain/writer.py",
        "                if isinstance(exc, UnavailableError) or state.is_reached:\n",
        "                if isinstance(exc, UnavailableError) and attempts > 1:\n"
        "                    parts.append((part, attempts - 1))\n"
        "                elif state.is_reached:\n",
        (WRITER, "disk"),
    ),
    Mutant(
        "heads published before the commit, and not read again",
        "vyrox/chain/writer.py",
        "    heads = _lock_and_read_heads(connection, "
        "sorted({(d.tenant_id, d.stream) for d in drafts}))\n",
        "    heads = vars(append).setdefault('published', {})\n"
        "    chains = sorted({(d.tenant_id, d.stream) for d in drafts})\n"
        "    for chain, head in _lock_and_read_heads(connection, chains).items():\n"
        "        heads.setdefault(chain, head)\n",
        ("disk", WRITER),
    ),
    Mutant(
        "not tried again after a lost race",
        "vyrox/chain/writer.py",
        "isinstance(exc, sa.exc.IntegrityError) and attempts > 1",
        "isinstance(exc, sa.exc.IntegrityError) and attempts > ATTEMPTS",
        (WRITER,),
    ),
    Mutant(
        "queued without a look whether it is there",
        "vyrox/alerts/scripts.py",
        "  if is_queued(stream, known[1], id) then return 'present' end\n",
        "  if false then return 'present' end\n",
        ("kill", CRASHES),
    ),
    Mutant(
        "a kill is repeated after a crash",
        "vyrox/containment/claims.py",
        '_NOT_REPEATABLE: Final = frozenset({"PROCESS_KILL"})',
        "_NOT_REPEATABLE: Final = frozenset()",
        ("kill", "tests/containment/test_claims.py"),
    ),
    Mutant(
        "no patience with requests in flight at the end",
        "vyrox/serve.py",
        "GRACE_S: Final = 20\n",
        "GRACE_S: Final = 0\n",
        ("shutdown", SERVE),
    ),
    Mutant(
        "leases measured by the wall clock",
        "vyrox/containment/clock_guard.py",
        "return self._monotonic() + self._shared.trusted",
        "return self._wall()",
        ("tests/containment/test_clock_guard.py",),
    ),
    Mutant(
        "actions carried out on a clock that has jumped",
        "vyrox/routes/execute.py",
        "            proxy.clocks.check()\n",
        "            pass\n",
        ("tests/containment/test_clocks.py",),
    ),
    Mutant(
        "an order is not checked before each attempt",
        "vyrox/edr/transport/calls.py",
        "        if order is None or self._is_fresh():\n",
        "        if order is None or order is not None:\n",
        ("tests/edr/test_calls.py", "tests/edr/test_rate_limits.py"),
    ),
    Mutant(
        "a freeze of every tenant is read for no tenant",
        "vyrox/tenants/freezes.py",
        '(EVERY_TENANT, sa.bindparam("tenant"))',
        '(sa.bindparam("tenant"),)',
        ("tests/cli/test_guard_rails.py",),
    ),
    Mutant(
        "freeze does not wait for the containers",
        "vyrox/cli/guard_rails.py",
        "late := [each for each in containers if each.version < frozen.version]",
        "late := [each for each in containers if each.version < 0]",
        ("tests/cli/test_guard_rails.py",),
    ),
    Mutant(
        "health reports what was true long ago",
        "vyrox/alerts/health.py",
        "if self._probed_at <= fresh_from:",
        "if self._probed_at <= fresh_from - 60:",
        ("tests/alerts/test_health.py",),
    ),
    Mutant(
        "an alert finished before it has its verdict",
        "vyrox/triage/worker.py",
        "        left = await self._judge_and_store(",
        "        for each in queued:\n"
        "            await self._consumer.acknowledge(each, self._clock())\n"
        "        left = await self._judge_and_store(",
        ("triage",),
    ),
    Mutant(
        "incidents merged, and their verdicts left where they were",
        "vyrox/triage/rows.py",
        "    for number in grouping.merged:\n",
        "    for number in ():\n",
        ("triage", "tests/triage/test_judging.py"),
    ),
    Mutant(
        "a notification recorded as sent before it is sent",
        "vyrox/notify/sender.py",
        "                attempt = await self._attempt(due)\n",
        "                attempt = Attempt(due, self._lease_time())\n"
        "                await self._writer.commit(delivery.settle, attempt, owner=due.tenant_id)\n"
        "                attempt = await self._attempt(due)\n",
        ("triage",),
    ),
    Mutant(
        "announced, and not noted",
        "vyrox/triage/announcement.py",
        "            incident.announced_band, incident.announced_at = incident.band, now\n",
        "            pass\n",
        ("triage", "tests/triage/test_announcement.py"),
    ),
    Mutant(
        "a checkpoint does not cover the entries of another container",
        "vyrox/chain/checkpoints.py",
        "        if tree.frontier.size < max(at_least, 1):\n",
        "        if tree.frontier.size < 1:\n",
        (SIGNED,),
    ),
    Mutant(
        "an entry is added twice to a tree",
        "vyrox/chain/checkpoints.py",
        "tree.frontier.size == receipt.sequence - 1:",
        "tree.frontier.size >= receipt.sequence - 1:",
        (SIGNED,),
    ),
    Mutant(
        "a chain that was cut is signed",
        "vyrox/chain/checkpoints.py",
        "            if size < tree.frontier.size:\n",
        "            if size < 0:\n",
        (SIGNED,),
    ),
    Mutant(
        "a reader's key reads what is not the audit log",
        "vyrox/routes/signed.py",
        "async def signed_read(request: Request, *, by_reader: bool = False) -> str:",
        "async def signed_read(request: Request, *, by_reader: bool = True) -> str:",
        (SIGNED,),
    ),
    Mutant(
        "a witness co-signs without a proof",
        "vyrox/chain/witness.py",
        "    return consistency_holds(old.size, new.size, old.root, new.root, proof)\n",
        "    return True\n",
        (WITNESS,),
    ),
    Mutant(
        "a passkey's proof is stored that an auditor refuses",
        "vyrox/approvals/passkeys.py",
        "    verify.check_passkey(members, verify.check_key(key))\n",
        "",
        (PASSKEYS,),
    ),
    Mutant(
        "a weak passkey is enrolled",
        "vyrox/approvals/passkeys.py",
        "    verify.check_key(members)\n",
        "",
        (PASSKEYS,),
    ),
    Mutant(
        "the digest of an approval is compared with nothing",
        "vyrox/approvals/dispatch.py",
        "        if digest_of_sent(proposal, sent) != stored.sha256:\n",
        "        if digest(stored.text) != stored.sha256:\n",
        (DISPATCH,),
    ),
    Mutant(
        "decisions counted in place of persons",
        "vyrox/approvals/deciding.py",
        "    persons = {each.approver for each in found}\n",
        "    persons = found\n",
        (DECIDING,),
    ),
    Mutant(
        "a passkey decides before it is confirmed",
        "vyrox/approvals/keys.py",
        "_p.credential_id == credential_id, _p.confirmed_at.is_not(None), ",
        "_p.credential_id == credential_id, ",
        (ENROLMENT,),
    ),
    Mutant(
        "what a lost passkey has approved counts on",
        "vyrox/approvals/deciding.py",
        "        and each.means in means.get(each.approver, ())\n",
        "        and each.approver in means\n",
        (ENROLMENT,),
    ),
    Mutant(
        "a person who was reset is one of two at once",
        "vyrox/approvals/deciding.py",
        "    _check_not_reset(proposal, verified, approver, now)\n",
        "",
        (ENROLMENT,),
    ),
    Mutant(
        "a statement is used twice",
        "vyrox/approvals/statements.py",
        "if row is None or not connection.execute(statements.delete().where(*which)).rowcount:\n",
        "if row is None:\n",
        ("tests/approvals/test_proofs.py",),
    ),
    Mutant(
        "a person endorses the person's own passkey",
        "vyrox/approvals/changes.py",
        "if name != change.approver and not present[name].is_reset(now)\n",
        "if not present[name].is_reset(now)\n",
        (ENDORSING,),
    ),
    Mutant(
        "one approver ends a rule for two persons",
        "vyrox/approvals/changes.py",
        "    remaining = pending.needed - len(_counting(connection, pending, now))\n",
        "    remaining = 0\n",
        (ENDORSING,),
    ),
    Mutant(
        "a rejection ends a drill",
        "vyrox/approvals/deciding.py",
        "    if proposal.is_drill:\n        return stored\n",
        "",
        ("tests/approvals/test_drills.py",),
    ),
    Mutant(
        "an approval expires by a task only",
        "vyrox/approvals/states.py",
        '    if stored == "pending" and now >= expires_at:\n',
        '    if stored == "pending" and now >= expires_at + 60:\n',
        (DECIDING, "tests/approvals/test_proposal.py"),
    ),
    Mutant(
        "an edited message keeps its old buttons",
        "vyrox/approvals/discord/message.py",
        '            "components": self.components,\n'
        '            "allowed_mentions": _mentions(None),\n',
        '            "allowed_mentions": _mentions(None),\n',
        (MESSAGES,),
    ),
    Mutant(
        "a click counts under a text that is not the proposal's",
        "vyrox/approvals/discord/clicks.py",
        """    if not message.content.endswith(f"```\\n{display(stored.proposal)}\\n```"):\n""",
        "    if False:\n",
        (CLICKS,),
    ),
    Mutant(
        "a click that an auditor would refuse is recorded",
        "vyrox/approvals/discord/receiving.py",
        "        await asyncio.to_thread(proof.check)\n",
        "",
        (CLICKS,),
    ),
    Mutant(
        "a signed interaction is accepted an hour later",
        "vyrox/approvals/discord/interaction.py",
        "    if abs(now - int(timestamp)) > SIGNED_FOR_S:\n",
        "    if abs(now - int(timestamp)) > 3600:\n",
        (CLICKS,),
    ),
    Mutant(
        "the button Reject rejects before the form is sent",
        "vyrox/approvals/discord/receiving.py",
        '        if click.button == "reject" and not click.is_form:\n',
        "        if False:\n",
        (CLICKS,),
    ),
    Mutant(
        "a message is posted twice if the response was lost",
        "vyrox/approvals/discord/message.py",
        '            "enforce_nonce": True,\n',
        '            "enforce_nonce": False,\n',
        (MESSAGES,),
    ),
    Mutant(
        "text that Discord changed keeps its buttons",
        "vyrox/approvals/discord/joining.py",
        '        is_altered = response.get("content") != work.message.content\n',
        "        is_altered = False\n",
        (MESSAGES,),
    ),
    Mutant(
        "the auditor does not compare the root of a checkpoint",
        "vyrox/chain/verify.py",
        "            roots.at.get(size) == checkpoint.root,\n",
        "            True,\n",
        (CHECKPOINTS,),
    ),
    Mutant(
        "the auditor takes an export that ends before its checkpoint",
        "vyrox/chain/verify.py",
        "            size <= end,\n",
        "            True,\n",
        (CHECKPOINTS,),
    ),
    Mutant(
        "the auditor takes a checkpoint that an unknown key has signed",
        "vyrox/chain/verify.py",
        "                is_signed or kept.is_kept or self.source is None,\n",
        "                True,\n",
        (CHECKPOINTS,),
    ),
    Mutant(
        "the auditor does not check the signature of a new key",
        "vyrox/chain/verify.py",
        "                _check_note_signature(note.text, own, signature)\n",
        "                pass\n",
        (CHECKPOINTS,),
    ),
    Mutant(
        "the auditor takes a key that was not verified by the device (UV)",
        "vyrox/chain/verify.py",
        '    _require(flags & 0x04 != 0, "the user was not verified (UV)")\n',
        "",
        (PASSKEYS,),
    ),
    Mutant(
        "the auditor takes an answer on a page inside another page",
        "vyrox/chain/verify.py",
        '    _require("topOrigin" not in data, "client_data has a topOrigin")\n',
        "",
        (PASSKEYS,),
    ),
    Mutant(
        "the auditor takes a key that was not confirmed",
        "vyrox/chain/verify.py",
        "        if key is None or key.credential_id not in approver.confirmed:\n",
        "        if key is None:\n",
        (VERIFIER,),
    ),
    Mutant(
        "the auditor does not compare the text that Discord displayed",
        "vyrox/chain/verify.py",
        ' and content.endswith(f"```\\n{display(proposal)}\\n```"),\n',
        ",\n",
        (VERIFIER,),
    ),
    Mutant(
        "the auditor does not compare the action with the proposal",
        "vyrox/chain/verify.py",
        "getattr(action, name) == proposal[name]",
        "True",
        (VERIFIER,),
    ),
    Mutant(
        "the auditor forgets four-eyes",
        "vyrox/chain/verify.py",
        '        self._has_four_eyes |= _text_of(entry, "rule") == FOUR_EYES\n',
        '        _text_of(entry, "rule")\n',
        (VERIFIER,),
    ),
    Mutant(
        "a proposal is used up after the call, not with the claim",
        "vyrox/approvals/dispatch.py",
        '"approved", "dispatched", now):\n',
        '"approved", "approved", now):\n',
        (DISPATCH,),
    ),
    Mutant(
        "the end of a containment that was replaced lifts the later one",
        "vyrox/containment/settlement.py",
        "                _l.token < lease.token,\n",
        "                _l.token < 0,\n",
        (LEASES,),
    ),
    Mutant(
        "a containment that failed has an end",
        "vyrox/containment/settlement.py",
        "    connection.execute(leases.delete().where(_l.entry_hash == entry_hash))\n",
        "",
        (LEASES,),
    ),
    Mutant(
        "two containers lift at once",
        "vyrox/approvals/lease_changes.py",
        '        "next_at": now + attempt_s,\n',
        '        "next_at": now,\n',
        (LEASES,),
    ),
    Mutant(
        "a lease that was extended before the call is lifted",
        "vyrox/approvals/leases.py",
        "        if now < lease.ends_at:\n",
        "        if False:\n",
        (LEASES,),
    ),
    Mutant(
        "an extension of a device that needs two persons is approved by one",
        "vyrox/containment/devices.py",
        "        if reason is not None:\n            return Blocked(reason)\n",
        "",
        (LEASES,),
    ),
    Mutant(
        "the console answers to every name",
        "vyrox/console/guard.py",
        "            if not is_for(scope, self._hosts):\n",
        "            if False:\n",
        (CONSOLE,),
    ),
    Mutant(
        "the console takes changes from any website",
        "vyrox/console/guard.py",
        "                return found == [own]\n",
        "                return True\n",
        (CONSOLE,),
    ),
    Mutant(
        "text in a page of the console is markup",
        "vyrox/console/pages.py",
        "    autoescape=True,\n",
        "    autoescape=False,\n",
        ("tests/console/test_decisions.py",),
    ),
    Mutant(
        "a session of the console outlives its passkey",
        "vyrox/console/sessions.py",
        "    key = find_key(connection, row.credential_id)\n",
        "    key = row\n",
        (SESSIONS,),
    ),
    Mutant(
        "a challenge of the console is answered twice",
        "vyrox/console/sign_in.py",
        "    use(connection, challenge, now)\n",
        "",
        (SESSIONS,),
    ),
    Mutant(
        "a link to the console may be used again",
        "vyrox/console/links.py",
        "_l.expires_at > now, _l.used_at.is_(None))",
        "_l.expires_at > now)",
        (LINKS,),
    ),
    Mutant(
        "a session by link acts",
        "vyrox/console/sessions.py",
        "        return tuple(each for each in linked if each in found), ()\n",
        "        return tuple(each for each in linked if each in found), tuple(linked)\n",
        (LINKS,),
    ),
    Mutant(
        "a person sees every tenant",
        "vyrox/console/parts.py",
        "    if tenant_id not in person.tenants:\n",
        "    if False:\n",
        (TENANTS_OF_PERSON,),
    ),
    Mutant(
        "two people of one name are one",
        "vyrox/console/sessions.py",
        "        if row.tenant_id in (each.tenant_id, each.home)\n",
        "",
        (TENANTS_OF_PERSON,),
    ),
    Mutant(
        "the time of a signed delivery may be any",
        "vyrox/tenants/schemes.py",
        "    return seconds is not None and abs(now - seconds) <= TOLERANCE_S\n",
        "    return seconds is not None\n",
        (SCHEMES,),
    ),
    Mutant(
        "what a scheme does not sign costs nothing",
        "vyrox/tenants/schemes.py",
        'b"", standard if vendor == "generic" else time)\n',
        'b"", b"")\n',
        ("tests/tenants/test_authentication.py",),
    ),
    Mutant(
        "a signature beside a bearer token is enough",
        "vyrox/tenants/schemes.py",
        "            return by_signature and not tokens\n",
        "            return by_signature\n",
        (SCHEMES,),
    ),
    Mutant(
        "any tenant may route to another",
        "vyrox/tenants/customers.py",
        "len(others) > 1 or child not in options.routes_to or not",
        "len(others) > 1 or not",
        (TENANT_PATHS,),
    ),
    Mutant(
        "what cannot be read is counted and not kept",
        "vyrox/alerts/batches.py",
        "        kept = iter(keep(connection, unreadable, limit) if unreadable else ())\n",
        "        kept = iter([True] * len(unreadable))\n",
        (TENANT_PATHS,),
    ),
    Mutant(
        "a body is inflated without a limit",
        "vyrox/adapters/received.py",
        "        content = gzip.GzipFile(fileobj=BytesIO(body)).read(limit + 1)\n",
        "        content = gzip.GzipFile(fileobj=BytesIO(body)).read()\n",
        ("tests/adapters/test_received.py",),
    ),
    Mutant(
        "a container that was suspended stores what it has pulled",
        "vyrox/polling/rows.py",
        "        raise LostLeaseError\n",
        "        return\n",
        (POLLERS,),
    ),
    Mutant(
        "a poll does not read what the vendor lists late",
        "vyrox/polling/poller.py",
        "poller.since - OVERLAP_S",
        "poller.since",
        (POLLERS,),
    ),
    Mutant(
        "a clock that is ahead at the vendor hides alerts",
        "vyrox/polling/poller.py",
        "min(page.highest or 0.0, self._clock())",
        "(page.highest or 0.0)",
        (POLLERS,),
    ),
    Mutant(
        "an alert that changes while a page is read hides others",
        "vyrox/polling/crowdstrike.py",
        "if next_place is not None and await self._list(cut, size, deadline) != ids:",
        "if next_place == cut.place:",
        (POLLERS,),
    ),
    Mutant(
        "a poller passes its token to the server that a link names",
        "vyrox/polling/defender.py",
        'if where != f"{base_url}{_PATH}".lower() or',
        "if",
        (POLLERS,),
    ),
    Mutant(
        "an alert that is announced again while it is fetched is not fetched again",
        "vyrox/polling/notices.py",
        ", _t.number == notice.number)",
        ")",
        (FETCHING,),
    ),
    Mutant(
        "a forged notification is fetched",
        "vyrox/routes/graph.py",
        "hmac.compare_digest(digest, sha256(secret).digest()) and ",
        "",
        (GRAPH,),
    ),
    Mutant(
        "a sender with a default secret fills the memory with names that it invents",
        "vyrox/tenants/directory.py",
        "if tenant_id in self._rows and now >=",
        "if now >=",
        (DIRECTORY,),
    ),
    Mutant(
        "a secret that was rotated counts as used because the one before it was",
        "vyrox/tenants/used.py",
        ".where(_table.version <= version, ",
        ".where(",
        (DIRECTORY,),
    ),
    Mutant(
        "a polled alert hides that every delivery is refused",
        "vyrox/polling/findings.py",
        "if found.poller is None:  # else the last",
        "if True:  # else the last",
        (CHECK,),
    ),
    Mutant(
        "a verdict that a person changes counts twice",
        "vyrox/triage/totals.py",
        "(now is not None) - (before is not None)",
        "(now is not None)",
        (TOTALS,),
    ),
    Mutant(
        "a verdict of a person who was faster than triage is not counted",
        "vyrox/triage/totals.py",
        "_change(counted, totals, None, each.person)",
        "_change(counted, totals, None, None)",
        (TOTALS,),
    ),
    Mutant(
        "a sender decides how many rows the totals have",
        "vyrox/triage/totals.py",
        "is_own = room[place] >= 0 or",
        "is_own = True or",
        (TOTALS,),
    ),
    Mutant(
        "an action counts with each of its outcomes",
        "vyrox/triage/totals_log.py",
        "self._count_action(action, -1)",
        "self._count_action(action, 0)",
        (TOTALS,),
    ),
    Mutant(
        "an entry of another tenant is shown",
        "vyrox/console/audit.py",
        "    sees(person, tenant_id)\n    number =",
        "    number =",
        (AUDIT_PAGE,),
    ),
    Mutant(
        "a cell of a report is a formula",
        "vyrox/console/reports.py",
        'if value.lstrip(" ").startswith(_FORMULA) else',
        'if value.startswith("=") else',
        (REPORTS,),
    ),
)


async def run(_size: Size) -> list[Row]:
    """Check the tree as it is, which must be green, and then with each bug."""
    checks = dict.fromkeys(check for mutant in MUTANTS for check in mutant.checks)
    with _copy() as tree:
        red = [report for check in checks if (report := await _check(tree, check))]
    rows = [Row("mutants", "without a bug", len(checks), len(red), "; ".join(red) or "green")]
    return [*rows, *[await _judge(mutant) for mutant in MUTANTS]]


async def _judge(mutant: Mutant) -> Row:
    what = f"planted: {mutant.name}"
    with _copy() as tree:
        file = tree / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            return Row("mutants", what, 1, 1, f"{mutant.file} has changed: it cannot be planted")
        file.write_text(text.replace(mutant.old, mutant.new))
        red = [report for check in mutant.checks if (report := await _check(tree, check))]
    return Row("mutants", what, 1, int(not red), "; ".join(red) or "nothing turned red")


@contextlib.contextmanager
def _copy() -> Iterator[Path]:
    """Copy the tree; the path is short, for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="vx-m-") as path:
        for name in COPIED:
            source = ROOT / name
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            if source.is_dir():
                shutil.copytree(source, Path(path) / name, ignore=ignored)
            else:
                shutil.copy(source, path)
        yield Path(path)


async def _check(tree: Path, check: str) -> str:
    """Return what is red in `tree`, or nothing."""
    is_test = check.startswith("tests/")
    command = ("pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", check)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *(command if is_test else ("chaos", check, "--inside"))),
        cwd=tree,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return f"{check} hung"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return _red_test(check, process.returncode, output) if is_test else _red_rows(check, output)


def _red_test(check: str, status: int | None, output: bytes) -> str:
    if status == 0:
        return ""
    lines = output.decode(errors="replace").splitlines()
    # The names of tests, not lines of a log, which may begin with ERROR too.
    named = [line.split()[1] for line in lines if line.startswith(("FAILED tests", "ERROR tests"))]
    return named[0] if named else f"{check}: exit code {status}"


def _red_rows(check: str, output: bytes) -> str:
    try:
        rows = msgspec.json.decode(output, type=list[Row])
    except msgspec.DecodeError:
        return f"chaos {check}: no table"
    red = [f"{row.what} ({row.losses:,})" for row in rows if row.losses]
    return f"chaos {check}: {', '.join(red[:3])}" if red else ""
