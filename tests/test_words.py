"""Plain English: a short list of words that comments, docstrings and pages avoid."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

SAY_INSTEAD: Final = {
    r"whoever": "the noun: the caller, the operator, an attacker",
    r"nobody": "no caller, no consumer, none of the containers",
    r"strangers?": "unauthenticated client",
    r"(another|that one)'s": "the noun: another tenant's",
    r"the others'?": "the noun: the other containers",
    r"stands?": "is, exists, is stored",
    r"at work|under way": "in progress, running",
    r"anew": "again",
    r"but for": "except",
    r"less the": "except, minus",
    r"(give|gives|given|gave|giving) up": "expire, stop checking, become a dead letter",
    r"(cut|cuts|cutting) off": "disconnect, interrupt",
    r"(put|puts|putting) off": "reject, postpone",
    r"lets? go": "release",
    r"look(s|ed|ing)? (at|for)": "check, poll, search",
    r"(tell|tells|told|telling)": "log, record, report, return",
    r"gets? hold of": "lease, lock",
    r"(?-i:is none)": "not, invalid, missing",
}
"""Each expression with what to say instead."""

_WORDS: Final = {re.compile(rf"\b({say})\b", re.I): then for say, then in SAY_INSTEAD.items()}
_ANY: Final = re.compile("|".join(rf"\b({say})\b" for say in SAY_INSTEAD), re.I)
_CODE: Final = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.M | re.S)
_THIS: Final = Path(__file__).resolve()


def area(path: Path) -> str:
    """Return the folder of the path, such as `vyrox` or `vyrox/edr`; at the top, its name."""
    return "/".join(path.relative_to(ROOT).parent.parts[:2]) or path.name


def files() -> dict[str, list[Path]]:
    """Return the Python files and pages of each area."""
    found: dict[str, list[Path]] = {}
    sources = [
        path
        for folder in ("vyrox", "tests", "chaos", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if path != _THIS
    ]
    for path in sorted([*sources, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        found.setdefault(area(path), []).append(path)
    return found


FILES: Final = files()


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments and docstrings of a module, or the text of a page, with their lines."""
    text = path.read_text()
    if path.suffix == ".md":
        yield 1, _CODE.sub(lambda code: "\n" * code[0].count("\n"), text)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring))):
                yield node.lineno, docstring


def complaints(path: Path) -> list[str]:
    """Return each word of the list, as `file:line: "word": say instead`."""
    found: list[str] = []
    if not _ANY.search(path.read_text()):
        return found  # which spares most files the parser
    for first, text in prose(path):
        for word, instead in _WORDS.items():
            for match in word.finditer(text):
                line = first + text.count("\n", 0, match.start())
                found.append(f'{path}:{line}: "{match[0]}": say {instead}')
    return found


@pytest.mark.parametrize("where", sorted(FILES))
def test_words_are_plain(where: str) -> None:
    assert [found for path in FILES[where] for found in complaints(path)] == []


def test_words_count_in_prose_and_not_in_code(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Nobody."""\nX = "nobody"  # whoever\n')
    page = tmp_path / "page.md"
    page.write_text("It stands.\n`nobody`\n```\nnobody\n```\nanew\n")

    assert sorted(complaints(module)) == [
        f'{module}:1: "Nobody": say {SAY_INSTEAD["nobody"]}',
        f'{module}:2: "whoever": say {SAY_INSTEAD["whoever"]}',
    ]
    assert sorted(complaints(page)) == [
        f'{page}:1: "stands": say {SAY_INSTEAD["stands?"]}',
        f'{page}:6: "anew": say {SAY_INSTEAD["anew"]}',
    ]
