"""Who may import whom. The architecture page holds the one table of the rule; this reads it."""

import ast
import functools
import re
from pathlib import Path
from typing import Final

import pytest

import vyrox

PACKAGE: Final = Path(vyrox.__file__).parent
PAGE: Final = PACKAGE.parent / "docs" / "architecture.md"

MAX_PLACES: Final = 28
"""Files and folders at the top level, those of later features included. `__init__` and `__main__`
hold no code and do not count."""

COMING: Final[frozenset[str]] = frozenset()


def rows() -> dict[str, int]:
    """Return each folder or file of the top level with its row, counted from the top."""
    below = PAGE.read_text().partition("\n## Who may import whom\n")[2]
    table = re.findall(r"```\n(.*?)```", below, re.S)[0]
    return {name: row for row, line in enumerate(table.splitlines()) for name in line.split()}


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Return each module but the migrations, by its name within the package."""
    parsed = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if "migrations" not in name and name not in {"__init__", "__main__"}:
            parsed[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return parsed


ROWS: Final = rows()
PLACES: Final = sorted(path.stem for path in PACKAGE.iterdir() if path.name[0] != "_")


def _imports(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names):
            return [f"{module}.{alias.name}" for alias in names]
    return []


@functools.cache
def imports(tree: ast.Module) -> list[str]:
    """Return the full name of all that is imported, inside functions as well."""
    return [name for node in ast.walk(tree) for name in _imports(node)]


@functools.cache
def own_imports(tree: ast.Module) -> set[str]:
    """Return the package's own modules that are imported."""
    found = set()
    for name in imports(tree):
        if name.startswith("vyrox."):
            within = name.removeprefix("vyrox.")
            found.add(within if within in trees() else within.rpartition(".")[0])
    return found - {""}


def top(module: str) -> str:
    return module.partition(".")[0]


def importers(name: str) -> set[str]:
    """Return the folders and files of the top level that import `name` or a part of it."""
    return {
        top(module)
        for module, tree in trees().items()
        if any(f"{imported}.".startswith(f"{name}.") for imported in imports(tree))
    }


def test_every_place_has_a_row_and_there_are_few() -> None:
    places = {top(module) for module in trees()}
    assert places - ROWS.keys() == set()
    assert ROWS.keys() - places <= COMING
    assert len(ROWS) <= MAX_PLACES


@pytest.mark.parametrize("place", PLACES)
def test_imports_go_only_downward(place: str) -> None:
    upward = [
        f"{module} imports {imported}"
        for module, tree in trees().items()
        for imported in own_imports(tree)
        if top(module) == place != top(imported) and ROWS[top(imported)] <= ROWS[place]
    ]
    assert upward == []


def test_there_is_no_circle_inside_a_folder() -> None:
    def reaches(start: str, module: str, seen: set[str]) -> bool:
        for below in own_imports(trees()[module]):
            if top(below) != top(start) or below in seen:
                continue
            if below == start:
                return True
            seen.add(below)
            if reaches(start, below, seen):
                return True
        return False

    assert [module for module in trees() if reaches(module, module, set())] == []


def test_a_package_exports_nothing_but_what_it_defines() -> None:
    """An `__init__.py` holds a docstring, or one table and what reads it."""
    empty = {
        path.parent.name
        for path in PACKAGE.rglob("__init__.py")
        if len(ast.parse(path.read_text()).body) <= 1
    }
    full = {path.parent.name for path in PACKAGE.rglob("__init__.py")} - empty
    assert full <= {"adapters", "cli", "demo", "crowdstrike", "sentinelone", "settings"}


def test_the_trial_is_apart_from_the_product() -> None:
    assert importers("vyrox.trial") - {"trial"} == {"cli"}
    ground = {name for name, row in ROWS.items() if row >= ROWS["ids"]}
    used = {
        imported
        for module, tree in trees().items()
        if top(module) == "trial"
        for imported in own_imports(tree)
        if top(imported) != "trial"
    }
    assert {each for each in used if top(each) not in ground} <= {"http.listener"}


def test_only_who_opens_something_sees_the_settings() -> None:
    assert importers("vyrox.settings") - {"settings"} <= {"app", "cli", "lifespan", "serve"}


def test_libraries_are_used_in_their_folders() -> None:
    assert importers("starlette") <= {
        "app",
        "console",
        "http",
        "lifespan",
        "routes",
        "serve",
        "trial",
    }
    assert importers("uvicorn") <= {"http", "serve", "trial"}
    assert importers("redis") <= {"alerts", "lifespan", "settings", "store"}
    assert importers("httpx") <= {"approvals", "cli", "edr", "http", "lifespan", "triage", "trial"}
    assert importers("httpcore") == {"notify"}
    assert importers("apprise") == {"notify"}
    assert importers("opentelemetry") == {"lifespan", "tracing"}
    assert importers("webauthn") == {"approvals"}
    assert importers("jinja2") == {"console"}
    assert "cli" not in importers("sqlalchemy")


def test_only_the_store_asks_which_database_it_is() -> None:
    asking = {
        top(module)
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "dialect"
    }
    assert asking <= {"store"}


def test_only_settings_reads_the_environment() -> None:
    readers = {
        module
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name | ast.alias)
        and {"environ", "environb", "getenv", "getenvb"}
        & {getattr(node, field, None) for field in ("attr", "id", "name")}
    }
    assert readers == {"settings.reading"}
