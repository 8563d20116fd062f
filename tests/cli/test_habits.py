"""Words and habits of the command line (contract 87 and 88)."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import click
import pytest

from tests.cli import Vyrox, refused, subcommands, succeeded
from tests.cli.test_queue import alert, enqueue
from tests.service import ROOT
from vyrox.chain.kinds import EVENT_KINDS
from vyrox.cli import INTERRUPTED, cli
from vyrox.cli.choices import Choice
from vyrox.console import audit_words

pytestmark = pytest.mark.usefixtures("anyio_backend")

BEFORE: Final = [
    line.split(" | ") for line in (ROOT / "tests/data/commands.txt").read_text().splitlines()
]
"""Every command with its arguments and options, as they were before contract 86."""


def leaves(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, below in subcommands(command):
            yield from leaves(below, *path, name)
    else:
        yield " ".join(path), command


COMMANDS: Final = dict(leaves(cli))


@pytest.fixture
def on_sqlite(data_dir: Path, redis_url: str) -> Vyrox:
    return Vyrox(data_dir, REDIS_URL=redis_url).migrated()


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None, redis_url: str) -> Vyrox:
    return Vyrox(data_dir, database_url, REDIS_URL=redis_url).migrated()


@pytest.mark.parametrize(("name", "arguments", "options"), BEFORE, ids=[b[0] for b in BEFORE])
def test_every_earlier_command_and_option_works_contract_88(
    name: str, arguments: str, options: str
) -> None:
    """An argument may have become optional, and one may have come before it."""
    command = COMMANDS[name.strip()]
    known = [
        option
        for each in command.params
        if isinstance(each, click.Option)
        for option in (*each.opts, *each.secondary_opts)
    ]
    assert set(options.replace(",", " ").split()) <= set(known)
    present = [each for each in command.params if isinstance(each, click.Argument)]
    assert len(present) >= len(arguments.split())
    assert any(each.nargs == -1 for each in present) or "*" not in arguments


def test_hidden_spellings_are_not_in_the_help_contract_88(on_sqlite: Vyrox) -> None:
    for command in ("alert list", "incident list", "audit events", "execute", "lift"):
        text = succeeded(on_sqlite(*command.split(), "--help"))
        assert "TENANT" in text.splitlines()[0]
        assert "--tenant" not in text


def test_tenant_comes_first_and_its_earlier_place_works_contract_88(on_sqlite: Vyrox) -> None:
    succeeded(on_sqlite("tenant", "add", "acme-corp", "--vendor", "generic"))
    for command in (("alert", "list"), ("incident", "list"), ("audit", "events")):
        first = on_sqlite(*command, "acme-corp")
        assert (first.exit_code, first.stdout) == (
            0,
            on_sqlite(*command, "--tenant", "acme-corp").stdout,
        )
        both = on_sqlite(*command, "acme-corp", "--tenant", "other")
        assert (both.exit_code, "are different" in both.stderr) == (2, True)
    name = "recovery.shadows_deleted"
    off = succeeded(on_sqlite("triage", "disable", "acme-corp", name, "--by", "a", "--second", "b"))
    assert "is off for acme-corp" in off
    on = succeeded(on_sqlite("triage", "enable", name, "--tenant", "acme-corp"))
    assert "is on for acme-corp" in on
    assert on_sqlite("triage", "enable", name).exit_code == 2


WITHOUT_DATABASE: Final = {"simulate", "console link"}
"""They take a name that the service or the person decides on."""

MAKES: Final = {"tenant add"}

ARGUMENTS: Final = {
    "approval propose": (
        "--alert", "a", "--action", "HOST_ISOLATION", "--host", "h", "--reason", "r"
    ),
    "approver drill": (), "approver confirm": ("n",), "viewer remove": ("n",), "viewer add": ("n",),
    "tenant edr set": ("--vendor", "crowdstrike", "--client-id", "x"),
    "tenant edr remove": ("--vendor", "crowdstrike"),
    "tenant set": ("--vendor", "crowdstrike", "--signature", "falcon"),
    "tenant poll": ("--vendor", "crowdstrike"),
    "tenant notify remove": ("t",), "tenant remove": ("--yes",),
    "triage suppress": ("--program", "x", "--reason", "r", "--family", "recovery"),
    "triage enable": ("recovery.shadows_deleted",), "triage disable": ("recovery.shadows_deleted",),
    "lease end": ("h", "--reason", "r"), "lease extend": ("h", "--reason", "r", "--lease", "2h"),
    "queue quarantine dismiss": ("x",), "queue dead revive": (),
    "approver add": ("n",), "approver link": ("n",), "approver remove": ("n",),
    "approver reset": ("n",), "approver sign-out": ("n",),
}  # fmt: skip
"""What commands need beside the tenant."""

OF_TENANT: Final = [
    name
    for name, command in COMMANDS.items()
    if any(each.name == "tenant_id" and isinstance(each, click.Argument) for each in command.params)
    and name not in {"tenant add", "execute", "lift", "discord setup", "discord check",
                     "discord remove", "audit export", "tenant field-map", "alert watch",
                     "audit key", "audit prove", "tenant explain"}
]  # fmt: skip


def test_an_unknown_tenant_is_an_error_with_the_nearest_contract_88(on_sqlite: Vyrox) -> None:
    succeeded(on_sqlite("tenant", "add", "acme-corp", "--vendor", "crowdstrike"))
    assert len(OF_TENANT) > 40
    for name in OF_TENANT:
        result = on_sqlite(*name.split(), "acme-crop", *ARGUMENTS.get(name, ()), stdin=b"s" * 40)
        assert (name, result.exit_code) == (name, 1), result.output
        assert "acme-corp" in result.stderr, name


@pytest.mark.parametrize(
    ("args", "nearest"),
    [
        ("tenat list", "'tenant'"),
        ("tenant lst", "'list'"),
        ("alert list --severty high", "'--severity'"),
        ("alert list --severity hihg", "'high'"),
        ("tenant add acme --vendor crowdstrke", "'crowdstrike'"),
        ("audit events --kind auth.faild", "auth.failed"),
        ("config VYROX_HMAC_SECRT", "'VYROX_HMAC_SECRET'"),
    ],
)
def test_a_mistyped_name_is_an_error_with_the_nearest_contract_88(
    on_sqlite: Vyrox, args: str, nearest: str
) -> None:
    result = on_sqlite(*args.split())
    assert result.exit_code == 2
    assert "id you mean" in result.stderr
    assert nearest in result.stderr


def test_every_choice_names_the_nearest_contract_88() -> None:
    types = {
        type(each.type)
        for name, command in COMMANDS.items()
        for each in command.params
        if name != "simulate"
    }
    assert Choice in types
    assert click.Choice not in types


def test_the_beginning_of_an_id_is_enough_contract_87(vyrox: Vyrox) -> None:
    """Ids are made so that two begin with the same characters."""
    beginnings = ["aaaa1111", *["bbbb2222"] * 7]
    ids = [f"{each}-0000-4000-8000-{number:012}" for number, each in enumerate(beginnings)]
    enqueue(vyrox, *(alert(id=each) for each in ids))
    assert ids[0] in succeeded(vyrox("alert", "show", "aaaa"))
    assert f"{ids[0]}  " in succeeded(vyrox("alert", "finish", "aaaa1111", "--verdict", "benign"))
    line = refused(vyrox("alert", "show", "bbbb2222"))
    assert line.startswith("several alerts begin with bbbb2222: ")
    assert line.count("bbbb2222-") == 5
    assert line.endswith(", and more")
    assert ids[3] in succeeded(vyrox("alert", "show", "bbbb2222-0000-4000-8000-000000000003"))
    assert refused(vyrox("alert", "show", "cccc"))
    assert refused(vyrox("alert", "show", "%%%%"))
    assert refused(vyrox("alert", "show", "aaa")), "three characters are no beginning"
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "crowdstrike"))
    assert "several alerts" in vyrox("incident", "move", "bbbb", "--new").stderr


def test_the_newest_events_contract_87(vyrox: Vyrox) -> None:
    for number in range(4):
        succeeded(vyrox("tenant", "add", f"t{number}", "--vendor", "generic"))
    every = succeeded(vyrox("audit", "events", "--json")).splitlines()
    assert len(every) > 4
    for limit in (1, 3, 100):
        some = succeeded(vyrox("audit", "events", "--limit", str(limit), "--json"))
        assert some.splitlines() == every[-limit:]
    [one] = succeeded(vyrox("audit", "events", "t2", "--limit", "1", "--json")).splitlines()
    assert '"tenant_id":"t2"' in one
    assert (
        "no events match" in vyrox("audit", "events", "--limit", "3", "--kind", "alert.dead").stderr
    )


def test_kinds_of_events_are_in_the_help_and_the_docs_contract_87(on_sqlite: Vyrox) -> None:
    known = {*audit_words.KINDS, *audit_words._SPECIAL}
    assert known == set(EVENT_KINDS), "the console has words for each of them (contract 80)"
    assert list(EVENT_KINDS) == sorted(set(EVENT_KINDS))
    words = succeeded(on_sqlite("audit", "events", "--help")).split()
    page = (ROOT / "docs/operations.md").read_text()
    for kind in EVENT_KINDS:
        family, _, name = kind.partition(".")
        assert {f"{family}.", name} <= set(words)
        assert f"`{kind}`" in page, kind


def test_every_list_has_wide_contract_87() -> None:
    """Except those that print what they serve or measure."""
    others = {"mock_edr.py", "triage.py", "tables.py"}
    for path in (ROOT / "vyrox/cli").glob("*.py"):
        text = path.read_text()
        if "print_table(" in text and path.name not in others:
            assert "@wide_option" in text, path.name


SHELLS: Final = {
    "bash": (
        "source {script}; COMP_WORDS=(vyrox alert li); COMP_CWORD=2; _vyrox_completion vyrox; "
        'echo "${{COMPREPLY[@]}}"'
    ),
    "zsh": "zsh -n {script} && COMP_WORDS='vyrox alert li' COMP_CWORD=2 "
    "_VYROX_COMPLETE=zsh_complete vyrox",
    "fish": "fish -c 'source {script}; complete -C \"vyrox alert li\"'",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_in_a_real_shell_contract_88(data_dir: Path, shell: str) -> None:
    """Shells that are not installed here are asked as their script asks."""
    bin_dir = data_dir / "bin"
    bin_dir.mkdir()
    program = bin_dir / "vyrox"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vyrox "$@"\n')
    program.chmod(0o700)
    env = {"PATH": f"{bin_dir}:/usr/bin:/bin", "HOME": str(data_dir), "PYTHONPATH": str(ROOT)}
    script = data_dir / "script"
    made = subprocess.run(
        [program, "completion", shell], env=env, capture_output=True, text=True, check=True
    )
    script.write_text(made.stdout)
    command = SHELLS[shell].format(script=script)
    if shutil.which(shell) is None:
        command = (
            f"COMP_WORDS='vyrox alert li' COMP_CWORD=li _VYROX_COMPLETE={shell}_complete vyrox"
        )
    done = subprocess.run(
        ["/bin/bash", "-c", command], env=env, capture_output=True, text=True, check=True
    )
    assert "list" in done.stdout
    assert "show" not in done.stdout


def test_secrets_are_asked_for_hidden_and_ctrl_c_ends_the_prompt_contract_88(
    data_dir: Path,
) -> None:
    env = {"PATH": "/usr/bin:/bin", "VYROX_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)}
    vyrox = [sys.executable, "-m", "vyrox"]
    subprocess.run([*vyrox, "tenant", "add", "acme", "--vendor", "generic"], env=env, check=True)
    secret = "typed-secret-0123456789-0123456789"
    for typed, code in ((f"{secret}\n".encode(), 0), (b"\x03", INTERRUPTED)):
        child, terminal = pty.fork()
        if child == 0:  # pragma: no cover  (the command)
            rotate = [*vyrox, "tenant", "rotate", "acme", "--secret-stdin", "--force"]
            os.execve(sys.executable, rotate, env)  # noqa: S606
        shown = b""
        while b"secret:" not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, typed)
        with suppress(OSError):  # the end of a terminal
            while data := os.read(terminal, 1024):
                shown += data
        _, status = os.waitpid(child, 0)
        os.close(terminal)
        assert os.waitstatus_to_exitcode(status) == code, shown
        assert secret.encode() not in shown
        assert b"Traceback" not in shown


def test_ctrl_c_ends_a_command_without_a_traceback_contract_88(data_dir: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "VYROX_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "vyrox", "migrate"], env=env, check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "vyrox", "alert", "watch"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs the tests may ignore it, as a shell has its background jobs do.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    begun = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "watching" in begun
    assert (process.returncode, out, err.strip()) == (INTERRUPTED, "", "")
