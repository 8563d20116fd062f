"""What alerts and incidents mean, in plain words (contract 78)."""

from collections.abc import Iterable, Sequence
from typing import Final

_MEANS: Final = {
    "credentials": "it reads passwords, keys or tickets that are stored there",
    "recovery": "it destroys backups, or what a restore needs",
    "defences": "it switches protection off, or weakens it",
    "download": "it fetches a program or a file from elsewhere",
    "proxy": "it runs code through a program of the system, which hides it",
    "remote": "it runs something on another host, or lets one be controlled from afar",
    "persistence": "it makes something start again by itself, or adds an account",
    "escalation": "it gets higher rights",
    "exfiltration": "it sends data out, or opens a way to do so",
    "collection": "it gathers data",
    "shell": "somebody elsewhere gets a command line on this host",
    "impact": "it encrypts, destroys or misuses what is there",
    "evasion": "it hides what it does",
    "discovery": "it looks around: which hosts, accounts and protection there are",
    "vendor": "the vendor calls it serious",
    "technique": "the vendor names a technique of attackers",
    "sigma": "a Sigma rule of your own matches",
    "triage": "it could not be judged, so a person must look",
}
"""What an alert with a signal of the family means; it continues a sentence."""

_TITLES: Final = {
    "credentials": "passwords or keys were read",
    "recovery": "backups were attacked",
    "defences": "protection was switched off",
    "download": "something was fetched from elsewhere",
    "proxy": "code ran through a program of the system",
    "remote": "another host was reached",
    "persistence": "something was made to stay",
    "escalation": "higher rights were taken",
    "exfiltration": "data left",
    "collection": "data was gathered",
    "shell": "somebody got a command line",
    "impact": "data or hosts were damaged",
    "evasion": "something was hidden",
    "discovery": "somebody looked around",
    "vendor": "the vendor calls it serious",
    "technique": "the vendor names a technique",
    "sigma": "a rule of your own matched",
    "triage": "it could not be judged",
}

_STEPS: Final = {
    "acknowledged": "took it on",
    "assigned": "took it over",
    "closed": "closed it",
    "reopened": "opened it again",
    "commented": "wrote",
    "merged": "joined it with another",
    "moved": "moved alerts",
}

RESOLUTIONS: Final = {
    "malicious": "an attack",
    "benign_expected": "harmless, and expected",
    "false_positive": "harmless: a false alarm",
    "unclear": "unclear",
}
"""How a person closes an incident."""

VERDICTS: Final = {
    "malicious": "an attack",
    "benign": "harmless",
    "unclear": "unclear",
}
"""A person's verdict on an alert."""

_QUIET: Final = frozenset({"vendor", "technique"})
"""Families that say less than any other."""


def family_means(family: str) -> str:
    """Return what a signal of a family means, to continue a sentence."""
    return _MEANS.get(family, f"it shows {family}")


def telling(families: Iterable[str]) -> tuple[str, ...]:
    """Return the families without those that only say what the vendor thinks."""
    return tuple(each for each in families if each not in _QUIET)


def signal_words(signal: str) -> str:
    """Return the name of a signal as words: `credentials.lsass_dump` is "lsass dump"."""
    return signal.rpartition(".")[2].replace("_", " ")


def incident_title(families: Sequence[str], hosts: Sequence[str]) -> str:
    """Return what happened, and where, as a title.

    Args:
        families: The strongest first.
    """
    told = (telling(families) or families)[:2]
    what = " and ".join(_TITLES.get(each, each) for each in told) or "nothing of note"
    where = f" on {hosts[0]}" if hosts else ""
    if len(hosts) > 1:
        where += f" and {len(hosts) - 1} more" if len(hosts) > 2 else f" and {hosts[1]}"
    return f"{what[0].upper()}{what[1:]}{where}"


def step_words(step: str) -> str:
    """Return what a person did, after the person's name."""
    return _STEPS.get(step, step)


def status_words(status: str, resolution: str | None, assignee: str | None = None) -> str:
    """Return the status of an incident in words, with who is on it if that is known."""
    if resolution == "below_review":
        return "closed by triage: nothing that needs a person"
    if resolution == "merged":
        return "joined with another"
    if resolution is not None:
        return f"closed: {RESOLUTIONS.get(resolution, resolution)}"
    if status == "acknowledged":
        return f"{assignee or 'somebody'} is on it"
    return status if assignee is None else f"{status}, given to {assignee}"
