"""Who may import whom: only downward, so that every module can be read without those above it."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import vyrox

ROWS: Final = (
    "__main__",
    "cli",
    "cli.audit cli.edr cli.execute cli.guard_rails cli.mock_edr cli.queue serve",
    "app cli.audit_export connection_limit mock_edr.serve",
    "cli.tenant demo mock_edr.app simulate.command",
    "cli.opened cli.output cli.secret_input demo.containment mock_edr.control mock_edr.inventory"
    " routes.* simulate.request",
    "asgi auth background confirmation containers containment demo.running health http_protocol"
    " mock_edr.clouds preview redis_check refill retention simulate.scenarios",
    "order_check quarantine",
    "adapters chain.export chain.live claims intake mock_edr.crowdstrike mock_edr.sentinelone"
    " queue tenants",
    "adapters.crowdstrike adapters.defender adapters.generic adapters.sentinelone admission"
    " mock_edr.crowdstrike.alerts mock_edr.crowdstrike.hosts mock_edr.crowdstrike.rtr"
    " mock_edr.defender mock_edr.delivery mock_edr.sentinelone.agents"
    " mock_edr.sentinelone.threats mock_edr.vendor",
    "dead_letters edr_credentials guard_rails",
    "devices",
    "device_names edr.actions edr.clients events mock_edr.*.gateway mock_edr.crowdstrike.sensor"
    " mock_edr.entra mock_edr.fleet mock_edr.odata mock_edr.recording",
    "edr.crowdstrike edr.defender edr.sentinelone mock_edr.faults mock_edr.state",
    "edr.rtr mock_edr.exchange mock_edr.tokens",
    "edr.api edr.falcon",
    "edr.tokens",
    "edr.rate_limits",
    "edr.calls edr.locks edr.states",
    "edr",
    "adapters.decoding adapters.timestamps chain.writer clock_guard freezes known_tenants"
    " migrations.env",
    "db",
    "db.postgres db.sqlite",
    "chain.entry data_dir embedded encryption group_commit joined_writes rate_limit"
    " redis_client replay",
    "clock crypto log settings tenant_id time_limit",
    "db.errors db.precedence db.tables edr.processes edr.reasons edr.urls new_id",
    "chain.verify errors models tolerant_json",
)
"""From top to bottom; modules of one row are strangers to each other. Packages without code and the
migrations, which Alembic imports, are left out."""

PACKAGE: Final = Path(vyrox.__file__).parent


def trees() -> dict[str, ast.Module]:
    """Return each module that has code, by its name within the package."""
    parsed = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        tree = ast.parse(path.read_text())
        if any(not isinstance(statement, ast.Expr) for statement in tree.body):
            parsed[name.removesuffix(".__init__")] = tree
    return parsed


MODULES: Final = trees()


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of all that is imported, inside functions as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(tree: ast.Module) -> set[str]:
    """Return the names of the package's own modules that are imported."""
    found = set()
    for name in imports(tree):
        if name.startswith("vyrox."):
            within = name.removeprefix("vyrox.")
            found.add(within if within in MODULES else within.rpartition(".")[0])
    return found


def row_of(module: str) -> int | None:
    for number, row in enumerate(ROWS):
        if any(fnmatch(module, pattern) for pattern in row.split()):
            return number
    return None


def test_every_module_has_a_row() -> None:
    assert [name for name in MODULES if row_of(name) is None and "versions" not in name] == []


def test_modules_import_only_downward() -> None:
    upward = [
        f"{module} imports {imported}"
        for module, tree in MODULES.items()
        for imported in imported_modules(tree)
        if (row_of(imported) or 0) <= (row_of(module) or 0)
    ]
    assert upward == []


def importers(name: str) -> set[str]:
    """Return the modules that import `name` or a part of it."""
    return {
        module
        for module, tree in MODULES.items()
        if any(f"{imported}.".startswith(f"{name}.") for imported in imports(tree))
    }


def test_nothing_below_a_route_sees_a_request() -> None:
    mock = {"mock_edr.app", "mock_edr.control", "mock_edr.delivery"}
    product = {"app", "asgi", "routes.ingestion", "routes.proxy", "serve"}
    assert importers("starlette") == product | mock


def test_the_mock_shares_nothing_with_the_clients() -> None:
    within = {name: tree for name, tree in MODULES.items() if name.startswith("mock_edr")}
    used = {module for tree in within.values() for module in imported_modules(tree)}
    assert used - within.keys() == {"clock", "errors"}


def test_only_who_opens_something_sees_the_settings() -> None:
    allowed = {"app", "cli", "encryption", "serve"}
    above = {module for module in importers("vyrox.settings") if not module.startswith("cli.")}
    assert above == allowed


def test_only_settings_reads_the_environment() -> None:
    readers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name | ast.alias)
        and {"environ", "environb", "getenv", "getenvb"}
        & {getattr(node, field, None) for field in ("attr", "id", "name")}
    }
    assert readers == {"settings"}
