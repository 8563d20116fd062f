"""Every setting with its value and where it came from, for people (contract 89).

The value of a secret is not shown, nor that of a setting that is refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from vyrox.errors import SettingsError
from vyrox.settings import Settings
from vyrox.settings.look_alikes import LookAlike, find_look_alikes
from vyrox.settings.reading import Reader, Variable, environment, text_of, what_it_takes

Source = Literal["environment", "file", "default"]

_SECRET: Final = re.compile(r"(?:^|_)(?:SECRETS?|KEYS?|TOKENS?|PASSWORDS?|HEADERS)(?:_|$)")
_PUBLIC: Final = frozenset({"DISCORD_PUBLIC_KEY"})

_LOGIN: Final = re.compile(r"//.*@", re.S)
"""Up to the last `@`: a password can hold one, and a slash."""

_PARAMETERS: Final = re.compile(r"[?#].*", re.S)


class Shown(msgspec.Struct, frozen=True):
    """A setting.

    Attributes:
        value: None: it is not set, or is not shown.
        is_set: It has a value, also if that is not shown.
        problem: Why its value is refused, without the value.
    """

    name: str
    value: str | None
    is_secret: bool
    is_set: bool
    source: Source
    problem: str | None = None


class Unknown(msgspec.Struct, frozen=True):
    """A variable that looks like a setting and is not."""

    variable: str
    nearest: str | None
    text: str


class ShownSettings(msgspec.Struct, frozen=True):
    """All settings, the variables that look like one, and why the service would not start."""

    settings: list[Shown]
    unknown: list[Unknown]
    problem: str | None


def show_settings(key_files: Mapping[str, str]) -> ShownSettings:
    """Return the settings in this process's environment.

    Args:
        key_files: Of each secret that is in a file if its variable is not set: the file's name in
            the data directory.
    """
    return show(environment(), key_files)


def show(env: Mapping[str, str], key_files: Mapping[str, str]) -> ShownSettings:
    """As `show_settings`, for `env`."""
    directory = Path(env.get("VYROX_DATA_DIR") or Settings.data_dir)
    settings = [_shown(each, env, directory, key_files) for each in _variables()]
    try:
        Settings.from_env(env)
    except SettingsError as exc:
        problem: str | None = str(exc)
    else:
        problem = None
    found = [Unknown(*each, str(each)) for each in look_alikes(env)]
    return ShownSettings(settings, found, problem)


def look_alikes(env: Mapping[str, str] | None = None) -> list[LookAlike]:
    """Return the variables that look like a setting and are not. Default: of this process."""
    names = {each.name for each in _variables()}
    return find_look_alikes(environment() if env is None else env, names)


def _variables() -> list[Variable]:
    reader = Reader({})
    Settings.read(reader)
    return reader.variables


def _shown(
    variable: Variable, env: Mapping[str, str], directory: Path, key_files: Mapping[str, str]
) -> Shown:
    name = variable.name
    is_secret = name not in _PUBLIC and _SECRET.search(name) is not None
    text = text_of(env, name)
    if text is None:
        file = key_files.get(name)
        in_file = file is not None and (directory / file).is_file()
        value = None if is_secret else _default_text(variable.default)
        is_set = in_file or value is not None
        return Shown(name, value, is_secret, is_set, "file" if in_file else "default")
    problem = _problem(variable, text)
    value = None if is_secret or problem else _without_login(text)
    return Shown(name, value, is_secret, True, "environment", problem)


def _problem(variable: Variable, text: str) -> str | None:
    try:
        variable.parse(text)
    except ValueError as exc:
        return what_it_takes(exc, text)
    return None


def _default_text(default: object) -> str | None:
    if default is None or default == ():
        return None
    return str(default).lower() if isinstance(default, bool) else str(default)


def _without_login(text: str) -> str:
    if "//" not in text:
        return text
    return _PARAMETERS.sub("?...", _LOGIN.sub("//...@", text))
