"""The `vyrox` command, run in this process with stores and an environment of its own."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, TypeVarTuple

import click
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from vyrox.cli import cli
from vyrox.models import Vendor
from vyrox.settings import Settings
from vyrox.store.database import open_database
from vyrox.store.encryption import open_vault
from vyrox.tenants.directory import Credentials, TenantDirectory

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Vyrox:
    """Runs `vyrox` on one data directory, and reads what it did to the database."""

    def __init__(self, data_dir: Path, database_url: str | None = None, **extra: str) -> None:
        self.env = {"VYROX_DATA_DIR": str(data_dir), **extra}
        if database_url is not None:
            # As platforms spell it.
            self.env["DATABASE_URL"] = database_url
            self.env["VYROX_ENCRYPTION_KEY"] = Fernet.generate_key().decode()

    def __call__(
        self, *args: str, stdin: bytes = b"", env: Mapping[str, str] = MappingProxyType({})
    ) -> Result:
        """Run a command. What it does not expect itself is raised here."""
        # None of this process's own settings reaches it.
        unset: dict[str, str | None] = dict.fromkeys(os.environ.keys() - {"PATH"})
        return CliRunner().invoke(
            cli,
            args,
            input=stdin,
            env={**unset, **self.env, **env},
            catch_exceptions=False,
            prog_name="vyrox",
        )

    def migrated(self) -> "Vyrox":
        """Make the database, which few commands do."""
        succeeded(self("migrate"))
        return self

    def write(self, transaction: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Return what `transaction` returns, run on the command's database."""

        async def run() -> T:
            settings = Settings.from_env(self.env)
            async with open_database(settings.database_url, settings.data_dir) as database:
                return await database.write(transaction, *args)

        return asyncio.run(run())

    def look_up(self, tenant_id: str, vendor: Vendor, now: float) -> Credentials:
        """Return what a service that starts now would take for `tenant_id`."""

        async def run() -> Credentials:
            settings = Settings.from_env(self.env)
            async with open_database(settings.database_url, settings.data_dir) as database:
                vault = open_vault(settings.encryption_keys, settings.data_dir)
                secrets = {vendor: b"default"}
                tenants = TenantDirectory(database, vault, secrets, require_onboarding=False)
                await tenants.refresh()
                return tenants.look_up(tenant_id, vendor, now)

        return asyncio.run(run())


def refused(result: Result, exit_code: int = 1) -> str:
    """Return the one line with which a command said that it could not do what it was asked."""
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("vyrox: ")
    [line] = result.stderr.splitlines()
    return line.removeprefix("vyrox: ")


def succeeded(result: Result) -> str:
    """Return what a command that succeeded printed on standard output."""
    assert result.exit_code == 0, result.output
    return result.stdout


def rows_of(printed: str) -> list[dict[str, str]]:
    """Return the rows of a table in a pipe, each with its cells by column."""
    header, *lines = printed.splitlines()
    names = header.split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def drives_no_terminal(printed: str) -> bool:
    """Return whether all is printable, except line ends and the tabs of a table in a pipe."""
    return all(c.isprintable() or c in "\n\t" for c in printed)


def subcommands(group: click.Group) -> list[tuple[str, click.Command]]:
    """Return every command of `group`, loaded."""
    context = click.Context(group)
    found = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [(name, command) for name, command in found if command is not None]
