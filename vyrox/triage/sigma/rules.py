"""Loads a directory of Sigma rules, and finds those that match an alert.

Only rules of whose texts some occur in the alert are tried, so many rules cost little.
"""

import logging
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from vyrox import log
from vyrox.errors import OperatorError
from vyrox.triage.literals import Scanner
from vyrox.triage.score import OwnRules
from vyrox.triage.sigma.event import Event, event_of
from vyrox.triage.sigma.tree import Check, RefusedError, Scanned, check, clauses, scanned
from vyrox.triage.signal import Signal, Subject

if TYPE_CHECKING:
    from vyrox.triage.sigma.reading import Parsed

MAX_RULES: Final = 10_000
MAX_WHY: Final = 160


class Outcome(msgspec.Struct, frozen=True):
    """What became of one rule, or of a file.

    Attributes:
        rule: The title, or None if the file could not be read.
        signal: The name of the signal, if the rule was loaded.
        result: `failed` is a file or rule that is in error; `refused` one that Vyrox cannot use.
        why: Of a loaded rule what it does without, if anything.
    """

    file: str
    rule: str | None
    signal: str | None
    result: Literal["loaded", "refused", "failed"]
    why: str | None = None


class _Loaded(msgspec.Struct, frozen=True):
    number: int
    signal: Signal
    title: str
    check: Check


class SigmaRules(OwnRules):
    """The rules of one directory.

    Attributes:
        outcomes: What became of each rule, in the order of the files.
        version: Changes with every file.
    """

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.version = ""
        self._rules: list[_Loaded] = []
        self._names: set[str] = set()
        self._always: list[_Loaded] = []
        self._by_text: dict[Scanned, list[_Loaded]] = {}
        self._lines = self._images = Scanner(())

    @property
    def signals(self) -> list[Signal]:
        """The signals of the rules."""
        return [each.signal for each in self._rules]

    def found(self, subject: Subject) -> list[tuple[Signal, str]]:
        """Return the signals of the rules that match, each with the rule's title."""
        if not self._rules:
            return []
        event = event_of(subject, self._lines, self._images)
        found = [(rule.signal, rule.title) for rule in self._possible(event) if rule.check(event)]
        subject.work.is_exhausted |= event.work.is_exhausted
        return found

    def _possible(self, event: Event) -> list[_Loaded]:
        keys: list[Scanned] = [("line", text) for text in event.line_texts]
        keys += [("image", text) for text in event.image_texts]
        found = {rule.number: rule for key in keys for rule in self._by_text.get(key, ())}
        found.update((rule.number, rule) for rule in self._always)
        return [found[number] for number in sorted(found)]

    def read(self, directory: Path) -> None:
        """Read every rule of `directory` and its subdirectories.

        Raises:
            OperatorError: pySigma is not installed, or the directory cannot be read.
        """
        digest = sha256()
        texts: set[Scanned] = set()
        for file in _files(directory):
            name = str(file.relative_to(directory))
            for document in self._documents(file, name, digest):
                self._add(name, document, texts)
        self.version = digest.hexdigest()[:12]
        self._lines = Scanner(text for place, text in texts if place == "line")
        self._images = Scanner(text for place, text in texts if place == "image")

    def _documents(self, file: Path, name: str, digest: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        from vyrox.triage.sigma.files import documents

        try:
            content = file.read_bytes()
            digest.update(name.encode("utf-8", "replace") + b"\0" + content + b"\0")
            yield from documents(content)
        except Exception as exc:  # noqa: BLE001  (whatever the file holds, the other files are read)
            self._note(name, None, None, "failed", _text_of(exc))

    def _add(self, name: str, document: dict[str, Any], texts: set[Scanned]) -> None:
        title = str(document.get("title", "without a title"))[:MAX_WHY]
        try:
            rule, loaded = self._compiled(document)
        except RefusedError as exc:
            self._note(name, title, None, "refused", str(exc))
            return
        except Exception as exc:  # noqa: BLE001  (whatever the rule holds, the other rules are read)
            self._note(name, title, None, "failed", _text_of(exc))
            return
        self._names.add(loaded.signal.name)
        self._rules.append(loaded)
        texts |= scanned(rule.tree)
        found = clauses(rule.tree)
        for text in found[0] if found else ():
            self._by_text.setdefault(text, []).append(loaded)
        if not found:
            self._always.append(loaded)
        without = f"without {', '.join(rule.without)}" if rule.without else None
        self._note(name, title, loaded.signal.name, "loaded", without)

    def _compiled(self, document: dict[str, Any]) -> tuple["Parsed", _Loaded]:
        from vyrox.triage.sigma.reading import parse

        rule = parse(document)
        signal = Signal(f"sigma.{rule.name}", "sigma", rule.weight, lambda _subject: None)
        if signal.name in self._names:
            raise RefusedError("another rule has the same id or title")
        if len(self._rules) >= MAX_RULES:
            raise RefusedError(f"there are more than {MAX_RULES} rules")
        return rule, _Loaded(len(self._rules), signal, rule.title, check(rule.tree))

    def _note(
        self,
        file: str,
        rule: str | None,
        signal: str | None,
        result: Literal["loaded", "refused", "failed"],
        why: str | None,
    ) -> None:
        self.outcomes.append(Outcome(file, rule, signal, result, why))


def load(directory: Path) -> SigmaRules:
    """Return the rules of `directory`.

    Raises:
        OperatorError: pySigma is not installed, or the directory cannot be read.
    """
    try:
        import sigma.rule  # noqa: F401  (an optional part)
    except ImportError:
        raise OperatorError(
            "Sigma rules need packages that are not installed. Install them with: EXTRAS=sigma "
            "deploy/install.sh, or see docs/deploy.md, Optional parts"
        ) from None
    rules = SigmaRules()
    rules.read(directory)
    return rules


def load_for_service(directory: Path | None) -> SigmaRules | None:
    """Return the rules of TRIAGE_SIGMA_DIR, and log what became of each.

    Raises:
        OperatorError: As `load`. A bad file or rule is logged, and all other rules are loaded.
    """
    if directory is None:
        return None
    try:
        rules = load(directory)
    except OperatorError as exc:
        raise OperatorError(f"TRIAGE_SIGMA_DIR: {exc}") from None
    for each in rules.outcomes:
        if each.result == "refused":
            log.event(
                "sigma.refused", logging.WARNING, file=each.file, rule=each.rule, why=each.why
            )
        elif each.result == "failed":
            log.event("sigma.failed", logging.ERROR, file=each.file, rule=each.rule, why=each.why)
    log.event("sigma.loaded", rules=len(rules.signals), version=rules.version)
    return rules


def _files(directory: Path) -> Sequence[Path]:
    try:
        if not directory.is_dir():
            raise OperatorError(f"{directory} is not a directory")
        found = [each for each in directory.rglob("*") if each.suffix in {".yml", ".yaml"}]
    except OSError as exc:
        raise OperatorError(f"{directory} cannot be read: {exc.strerror}") from exc
    return sorted(each for each in found if each.is_file())


def _text_of(exc: Exception) -> str:
    return " ".join(f"{exc}".split())[:MAX_WHY] or type(exc).__name__
