"""How the environment is read. No module outside this package reads it."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple, TypeVar

from vyrox.errors import SettingsError
from vyrox.models import Vendor
from vyrox.settings import values

DEFAULT_SECRET_VARIABLES: Final[dict[Vendor, str]] = {
    "crowdstrike": "CROWDSTRIKE_WEBHOOK_SECRET",
    "sentinelone": "SENTINELONE_WEBHOOK_SECRET",
    "defender": "DEFENDER_WEBHOOK_SECRET",
    "generic": "GENERIC_WEBHOOK_SECRET",
}

SERVICE_LINK: Final = re.compile(r"(?:tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+:[0-9]+")
"""What Kubernetes sets `PROXY_PORT` to, if a service in the namespace is called `proxy`."""

T = TypeVar("T")


class Variable(NamedTuple):
    """A variable that was read, and what it takes.

    Attributes:
        default: Where it is not set.
        parse: Raises ValueError with what the variable takes, and does not repeat its value.
    """

    name: str
    default: object
    parse: Callable[[str], object]


class Reader:
    """Reads variables of `env`, and remembers which."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.variables: list[Variable] = []

    def value(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        """Return the parsed value of `name`, or `default` where it is not set.

        Raises:
            SettingsError: The value is bad. The text does not repeat it.
        """
        self.variables.append(Variable(name, default, parse))
        text = text_of(self.env, name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            raise SettingsError(f"{name} {what_it_takes(exc, text)}") from None


def text_of(env: Mapping[str, str], name: str) -> str | None:
    """Return the text of a variable, or None if it is not set for Vyrox."""
    text = env.get(name)
    return None if text is None or SERVICE_LINK.fullmatch(text) else text


def what_it_takes(refusal: ValueError, text: str) -> str:
    """Return what a variable takes whose value `text` was refused."""
    return f"{refusal}{'' if text else ': it is set, but empty'}"


def default_secrets(read: values.Read, private: Mapping[str, str]) -> dict[Vendor, bytes]:
    """Return the secret of each vendor that has one for tenants that are not onboarded.

    Args:
        private: The secrets of the private listener, by variable.

    Raises:
        SettingsError: A value is bad.
    """
    found = {
        vendor: read(name, None, partial(values.webhook_secret, vendor, private))
        for vendor, name in DEFAULT_SECRET_VARIABLES.items()
    }
    return {vendor: secret for vendor, secret in found.items() if secret is not None}


def environment() -> Mapping[str, str]:
    """Return this process's environment."""
    return os.environ  # noqa: TID251  (this is the one reader)


@contextmanager
def only_environment(env: Mapping[str, str]) -> Iterator[None]:
    """Make `env` this process's whole environment until the block ends."""
    before = dict(os.environ)  # noqa: TID251  (to restore it)
    try:
        os.environ.clear()  # noqa: TID251
        os.environ.update(env)  # noqa: TID251
        yield
    finally:
        os.environ.clear()  # noqa: TID251
        os.environ.update(before)  # noqa: TID251
