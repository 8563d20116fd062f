"""The pages match the product: settings, commands, links, versions, contract numbers."""

import ast
import dataclasses
import importlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Final, get_args

import click
import pytest
from starlette.routing import Route

from tests.cli import subcommands
from vyrox.cli import cli
from vyrox.errors import SettingsError
from vyrox.models import DIRECT
from vyrox.notify.messages import NoticeKind
from vyrox.routes import ingestion, interactions, proxy, tenant_paths
from vyrox.settings import Settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINE_COMMAND = re.compile(r"^ *(?:\$ )?(?:[A-Z_]+=\S+ )*vyrox (.+)$", re.MULTILINE)
_INLINE_COMMAND = re.compile(r"`(?:python -m )?vyrox ([^`]+)`")
_SHELL_OPERATOR = re.compile(r"[|<>;&]")
_PLACEHOLDER = re.compile(r"[A-Z_]+")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_NAMED_CONTRACTS = re.compile(r"contract[ _](\d+(?:(?:, | and |_and_)\d+)*)")
_RANGE = re.compile(r"whole number from (\d+) to (\d+)")


class Recorder(dict[str, str]):
    """An environment in which nothing is set, and which records the names that were read."""

    def __init__(self) -> None:
        self.read_names: list[str] = []

    def get(self, name: str, _default: object = None) -> None:  # type: ignore[override]
        self.read_names.append(name)


def variables() -> list[str]:
    environment = Recorder()
    Settings.from_env(environment)
    return environment.read_names


def settings_table(page: Path) -> list[list[str]]:
    """The rows of the table below `## Settings`, as cells."""
    _, _, below = page.read_text().partition("\n## Settings\n")
    rows = [line for line in below.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def without_code(page: Path) -> str:
    return _FENCED.sub("", page.read_text())


def test_readme_settings_are_the_variables_that_are_read() -> None:
    assert sorted(code(row[0])[0] for row in settings_table(ROOT / "README.md")) == sorted(
        variables()
    )


def test_readme_defaults_are_those_in_force() -> None:
    rows = settings_table(ROOT / "README.md")
    documented = {code(row[0])[0]: row[1] for row in rows}
    defaults = {
        name: cell.strip("`")
        for name, cell in documented.items()
        if code(cell) == [cell.strip("`")]
    }
    unset = Settings()
    for name, default in defaults.items():
        assert Settings.from_env({name: default}) == unset, name
    values = [getattr(unset, field.name) for field in dataclasses.fields(Settings)]
    assert len(defaults) == len([value for value in values if value not in (None, (), {}, DIRECT)])
    others = {name: cell for name, cell in documented.items() if name not in defaults}
    assert others.pop("PORT") == "as `INGESTION_PORT`"
    assert [name for name, cell in others.items() if not cell.startswith("none")] == []


def test_every_secret_has_a_rotation_contract_104() -> None:
    """As a setting, or in the URL or the file that a setting names."""
    page = (DOCS / "operations.md").read_text().partition("\n## Rotating secrets and keys\n")[2]
    named = {name for line in page.splitlines() if line.startswith("| ") for name in code(line)}
    hidden = re.compile(r"SECRET|KEY|TOKEN|PASSWORD|HEADERS|WITNESS|CA_FILE|_PROXY$")
    stores = {"DATABASE_URL", "REDIS_URL"}
    secret = {name for name in variables() if hidden.search(name)} | stores
    assert secret - named == set()


def test_contract_settings_are_the_variables_that_are_read() -> None:
    rows = settings_table(DOCS / "contract.md")
    assert sorted(name for row in rows for name in code(row[0])) == sorted(variables())


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        pytest.param(name, int(match[1]), int(match[2]), id=name)
        for row in settings_table(DOCS / "contract.md")
        for name in code(row[0])
        if (match := _RANGE.search(row[1]))
    ],
)
def test_contract_ranges_are_those_in_force(name: str, low: int, high: int) -> None:
    for value in (low, high):
        Settings.from_env({name: str(value)})
    for value in (low - 1, high + 1):
        with pytest.raises(SettingsError, match=name):
            Settings.from_env({name: str(value)})


def test_contract_begins_with_every_route() -> None:
    """Where a reader looks first for what a caller can reach."""
    table = (DOCS / "contract.md").read_text().partition("\n## ")[0]
    listed = {
        re.sub(r"\{.*?\}", "{}", route) for route in re.findall(r"`((?:GET|POST) /[^`?]*)", table)
    }
    made = {
        f"{method} {re.sub(r'{.*?}', '{}', route.path.rstrip('/'))}"
        for module in (ingestion, tenant_paths, interactions, proxy)
        for route in module.create_routes()
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert sorted(made - listed) == []


def test_contract_numbers_are_each_named_by_a_test() -> None:
    contract = (DOCS / "contract.md").read_text()
    promised = re.findall(r"^\*\*(\d+)\.", contract, re.MULTILINE)
    assert len(promised) >= 20
    named = {
        number
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__)
        for listed in _NAMED_CONTRACTS.findall(path.read_text())
        for number in re.findall(r"\d+", listed)
    }
    assert [number for number in promised if number not in named] == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent == DOCS], ids=lambda page: page.name
)
def test_pages_name_their_reader_and_are_linked(page: Path) -> None:
    """The first line names the reader; the README links the page."""
    first = page.read_text().split("\n\n")[1]
    assert first.startswith("For "), first
    assert f"docs/{page.name}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(without_code(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the page's headings."""
    headings = _HEADING.findall(without_code(page))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def documented_commands() -> list[tuple[str, bool]]:
    """Every `vyrox` command in the pages, and whether it is complete enough to run as it is."""
    found: dict[str, bool] = {}
    for page in PAGES:
        for inline in _INLINE_COMMAND.findall(without_code(page)):
            found.setdefault(inline, False)
        for block in _FENCED.findall(page.read_text()):
            found.update(dict.fromkeys(_LINE_COMMAND.findall(block), True))
    return sorted(found.items())


@pytest.mark.parametrize(("text", "is_whole"), documented_commands())
def test_commands_exist_with_these_options(text: str, is_whole: bool) -> None:
    words = shlex.split(_SHELL_OPERATOR.split(text)[0])
    command: click.Command = cli
    context = click.Context(cli, help_option_names=["-h", "--help"])
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        subcommand = command.get_command(context, name)
        assert subcommand is not None, name
        command, context = subcommand, click.Context(subcommand, context)
    values, surplus, _ = command.make_parser(context).parse_args(words)
    assert surplus == []
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(value, str) and isinstance(parameter.type, click.Choice):
            assert value in parameter.type.choices or _PLACEHOLDER.fullmatch(value)
        if is_whole and parameter.required:
            assert isinstance(value, str | tuple), parameter.name
            assert value


_PYTHON_BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(_PYTHON.findall(page.read_text()))
]


@pytest.mark.parametrize("block", _PYTHON_BLOCKS)
def test_python_examples_import_what_exists(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def test_modules_on_the_architecture_page_exist() -> None:
    """`## The life of ...` names each module as it is below `vyrox/`."""
    _, _, lives = (DOCS / "architecture.md").read_text().partition("\n## The life of an alert\n")
    named = {
        name for block in _FENCED.findall(lives) for name in re.findall(r"[a-z_]+\.[a-z_]+", block)
    }
    assert len(named) > 20
    paths = {name: ROOT / "vyrox" / name.replace(".", "/") for name in named}
    assert [
        name
        for name, path in sorted(paths.items())
        if not path.with_suffix(".py").exists() and not path.is_dir()
    ] == []


def test_log_events_are_on_the_operations_page() -> None:
    page = (DOCS / "operations.md").read_text()
    logged = {
        name
        for path in (ROOT / "vyrox").rglob("*.py")
        for name in re.findall(r'\blog\.event\(\s*"([a-z_.]+)"', path.read_text())
    }
    assert len(logged) > 20
    assert [name for name in sorted(logged) if f"`{name}`" not in page] == []


def test_kinds_of_notices_are_on_the_notifications_page_contract_69() -> None:
    page = (DOCS / "notifications.md").read_text()
    assert [kind for kind in get_args(NoticeKind) if f"`{kind}`" not in page] == []


def test_documented_commands_cover_every_command() -> None:
    def leaves(command: click.Command, path: str) -> list[str]:
        if not isinstance(command, click.Group):
            return [path]
        below = [leaves(sub, f"{path} {name}") for name, sub in subcommands(command)]
        return [leaf for found in below for leaf in found]

    documented = [f" {text} " for text, _ in documented_commands()]
    assert [
        leaf
        for leaf in leaves(cli, "")
        if not any(text.startswith(f"{leaf} ") for text in documented)
    ] == []


def test_dependency_versions_are_those_in_the_lock_file() -> None:
    documented = dict(
        re.findall(
            r"^\| `([\w-]+)`[^|]* \| ([\w.]+) \|", (DOCS / "dependencies.md").read_text(), re.M
        )
    )
    lock_files = [ROOT / f"requirements-{name}.txt" for name in ("dev", "bench", "browser")]
    locked = {
        name: version
        for file in lock_files
        for name, version in re.findall(
            r"^([\w-]+)(?:\[[\w,]+\])?==([\w.]+)", file.read_text(), re.M
        )
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        re.split(r"[>\[]", requirement)[0]
        for group in [project["dependencies"], *project["optional-dependencies"].values()]
        for requirement in group
    }
    assert documented == {name: locked[name] for name in names}


def test_changelog_has_a_place_for_what_is_not_released() -> None:
    headings = _HEADING.findall((ROOT / "CHANGELOG.md").read_text())
    assert headings[:2] == ["Changelog", "[Unreleased]"]


NOT_SEARCHED: Final = (":!tests/data", ":!tests/triage", ":!vyrox/triage/signals")


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"(^|[^A-Za-z0-9_.~-])/(home|root|work|Users)/", id="reject_machine_path"),
        pytest.param(r"index[-_]url|/simple[/]|pypi[.]org|python[h]osted", id="reject_registry"),
    ],
)
def test_files_name_no_machine_and_no_registry(pattern: str) -> None:
    # The samples are vendors' own, with the paths of their machines; the signals of triage describe
    # the paths and options of attacks.
    found = subprocess.run(
        ["git", "grep", "--untracked", "-nIE", pattern, "--", ".", *NOT_SEARCHED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, "")
