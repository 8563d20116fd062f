"""The application at Discord that posts proposals and signs clicks (contract 67)."""

import re
from dataclasses import dataclass, field
from typing import Final

from vyrox.errors import SettingsError
from vyrox.settings import values

_SNOWFLAKE: Final = re.compile(r"[0-9]{17,20}")
_PUBLIC_KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class DiscordApplication:
    """What Discord's developer portal shows of an application.

    Attributes:
        public_key: In hex: what clicks are checked with.
        test_url: In place of Discord's own address.
    """

    application_id: str
    public_key: str
    bot_token: str = field(repr=False)
    test_url: str | None = None


def read_application(read: values.Read) -> DiscordApplication | None:
    """Return the application, or None if none of its settings is set.

    Raises:
        SettingsError: Some are set and others are not, or a value is bad.
    """
    application_id = read("DISCORD_APPLICATION_ID", None, _snowflake)
    public_key = read("DISCORD_PUBLIC_KEY", None, _public_key)
    bot_token = read("DISCORD_BOT_TOKEN", None, values.token)
    test_url = read("DISCORD_TEST_URL", None, values.public_url)
    found = (application_id, public_key, bot_token)
    if application_id is None or public_key is None or bot_token is None:
        if any(found):
            raise SettingsError(
                "DISCORD_APPLICATION_ID, DISCORD_PUBLIC_KEY and DISCORD_BOT_TOKEN are required "
                "together: Discord's developer portal shows the first two under General "
                "Information, and makes the token under Bot"
            )
        return None
    return DiscordApplication(
        application_id=application_id,
        public_key=public_key,
        bot_token=bot_token,
        test_url=test_url,
    )


def _snowflake(text: str) -> str:
    if _SNOWFLAKE.fullmatch(text) is None:
        raise ValueError("must be a number of 17 to 20 digits")
    return text


def _public_key(text: str) -> str:
    if _PUBLIC_KEY.fullmatch(text) is None:
        raise ValueError("must be 64 hexadecimal digits in lower case")
    return text
