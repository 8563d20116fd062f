"""The replay window: how old a signed request may be (contract 19 and 26)."""

from typing import Final

from vyrox.errors import StaleRequestError

WINDOW_S: Final = 30
"""It limits both directions, so that a client cannot sign requests for later."""


def check_window(signed_at: int, now: float) -> None:
    """Check that `signed_at` is at most WINDOW_S before or after `now`, both in Unix seconds.

    Raises:
        StaleRequestError: The difference is larger.
    """
    # Whole milliseconds: integers of any size can be compared, and a float would overflow.
    if abs(round(now * 1000) - signed_at * 1000) > WINDOW_S * 1000:
        raise StaleRequestError(f"signed more than {WINDOW_S} s before or after now")
