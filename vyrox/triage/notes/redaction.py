"""What a language model must not see: secrets are masked, and persons have other names.

A mask takes too much rather than too little. Every pattern has bounded repetition.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final

from vyrox.triage.users import person

MAX_READ: Final = 4096
"""Characters of one text that are read."""

MAX_TEXT: Final = 1000
"""Characters of one text that are sent."""

MAX_PERSONS: Final = 64

SECRET: Final = "[secret]"  # noqa: S105

_VALUE: Final = r"""("[^"]{0,400}"?|'[^']{0,400}'?|[^\s"'&;,|]{1,400})"""
_NAMED: Final = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|private[_-]?key|credentials?|authorization|signature|\b(?:pw|rp|sas|sig|auth)\b)"
)

Mask = Callable[[re.Match[str]], str]


def _keep_first(match: re.Match[str]) -> str:
    return f"{match[1]}{SECRET}"


def _blob(match: re.Match[str]) -> str:
    text = match[0]
    digits = sum(map(str.isdigit, text))
    is_mixed = bool(digits) and text.lower() != text and text.upper() != text
    if is_mixed or text.endswith("=") or (len(text) >= 32 and digits >= 4):
        return f"[encoded text, {len(text)} characters]"
    return text


_MASKS: Final[tuple[tuple[re.Pattern[str], Mask], ...]] = tuple(
    (re.compile(pattern, re.I | re.S), mask)
    for pattern, mask in (
        (r"(-----BEGIN [^-]{1,40}-----).{1,8192}", _keep_first),
        (r"(://)[^\s/@:]{0,100}:[^\s/@]{1,200}(?=@)", _keep_first),
        (r"\b((?:bearer|basic|negotiate)\s{1,4})[\w.~+/=-]{6,4000}", _keep_first),
        (r"(\becho\s{1,4})\S{1,200}(?=\s{0,4}\|\s{0,4}sudo)", _keep_first),
        (r"(\bnet1?(?:\.exe)?\"?\s{1,4}user\s{1,4}\S{1,100}\s{1,4})(?!/)\S{1,200}", _keep_first),
        (
            r"(\bnet1?(?:\.exe)?\"?\s{1,4}use\s{1,4}(?:\w:\s{1,4}|\*\s{1,4})?\\\\\S{1,200}\s{1,4})"
            r"(?!/)\S{1,200}",
            _keep_first,
        ),
        (rf"(convertto-securestring\s{{1,4}}(?:-string\s{{1,4}})?)(?!-){_VALUE}", _keep_first),
        (rf"((?:^|\s)(?:-u|--user)[\s=]{{1,4}}[\"']?[^\s:\"']{{1,100}}:){_VALUE}", _keep_first),
        (rf"({_NAMED}[\w.-]{{0,20}}[\"']?\s{{0,4}}[:=]\s{{0,4}}){_VALUE}", _keep_first),
        (rf"((?:^|\s)[-/]{{1,2}}[\w-]{{0,30}}{_NAMED}\s{{1,4}})(?![-/]){_VALUE}", _keep_first),
        (rf"((?:^|\s)/(?:p|rp)[:\s]{{1,4}})(?!/){_VALUE}", _keep_first),
        (rf"((?:^|\s)-p\s{{0,4}})(?![-/\s]){_VALUE}", _keep_first),
        (
            r"\b()(?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|sk-|AKIA|ASIA|AIza|ya29\.|eyJ)"
            r"[\w.-]{10,4000}",
            _keep_first,
        ),
        (r"[\w+/=-]{24,8192}", _blob),
    )
)

_HOME: Final = re.compile(r"[/\\](?:users|home)[/\\]([\w.@-]{2,64})", re.I)


def masked(text: str) -> str:
    """Return `text` on one line, without secrets and without characters that hide others."""
    is_long = len(text) > MAX_READ
    text = text[:MAX_READ].encode("utf-8", "replace").decode()
    if not text.isascii():
        text = "".join(each for each in text if unicodedata.category(each) != "Cf")
    text = "".join(each if each.isprintable() else " " for each in text)
    if is_long:
        text = text.rpartition(" ")[0]  # half a secret may have no mark
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return " ".join(text.split())[:MAX_TEXT]


class Persons:
    """Gives each person of one incident another name, the same one in every text."""

    def __init__(self, usernames: Iterable[str | None], texts: Iterable[str | None]) -> None:
        """Take the persons in `usernames`, and those whose home directories `texts` name."""
        names = [person(each) for each in usernames]
        names += [person(each) for text in texts for each in _HOME.findall((text or "")[:MAX_READ])]
        found = [each for each in dict.fromkeys(names) if each is not None][:MAX_PERSONS]
        self._names = {name: f"user-{number}" for number, name in enumerate(found, 1)}
        words = sorted((name for name in found if len(name) > 1), key=len, reverse=True)
        pattern = "|".join(map(re.escape, words))
        self._pattern = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.I) if words else None

    def name(self, username: str | None) -> str | None:
        """Return the other name of an account; that of a system's own account is kept."""
        who = person(username)
        if who is None:
            return None if username is None else masked(username)[:64]
        return self._names.get(who, "user")

    def hidden(self, text: str) -> str:
        """Return `text` with the other names."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._names.get(match[0].casefold(), "user"), text)
