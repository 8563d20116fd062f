"""The secrets of the private listener: each has its own use, so no two may be the same (85)."""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from vyrox.errors import SettingsError
from vyrox.settings import values

CURRENT: Final = "VYROX_HMAC_SECRET"
PREVIOUS: Final = "VYROX_HMAC_SECRET_PREVIOUS"
READ: Final = "VYROX_READ_SECRET"


@dataclass(frozen=True)
class PrivateSecrets:
    """The secrets that are set.

    Attributes:
        current: VYROX_HMAC_SECRET.
        previous: VYROX_HMAC_SECRET_PREVIOUS, accepted while callers change to the current one.
        read: VYROX_READ_SECRET, for GET only.
    """

    current: str | None = field(default=None, repr=False)
    previous: str | None = field(default=None, repr=False)
    read: str | None = field(default=None, repr=False)

    def by_name(self) -> dict[str, str]:
        """Return the secrets that are set, by the name of the variable."""
        found = {CURRENT: self.current, PREVIOUS: self.previous, READ: self.read}
        return {name: secret for name, secret in found.items() if secret is not None}


def read_secrets(read: values.Read) -> PrivateSecrets:
    """Return the secrets of the private listener.

    Raises:
        SettingsError: One is invalid, or two are the same.
    """
    secrets = PrivateSecrets(
        read(CURRENT, None, values.secret),
        read(PREVIOUS, None, values.secret),
        read(READ, None, values.secret),
    )
    for (name, secret), (other, same) in combinations(secrets.by_name().items(), 2):
        if secret == same:
            raise SettingsError(f"{other} must not be {name}: each is a secret of its own")
    return secrets
