"""The replay window (contract 19 and 26). Pure."""

from typing import Final

from vyrox.errors import StaleRequestError

WINDOW_S: Final = 30
"""Either way, so that a client whose clock is ahead cannot sign requests for later."""


def check_window(signed_at: int, now: float) -> None:
    """Return if `signed_at` is at most WINDOW_S from `now`, both Unix seconds.

    Raises:
        StaleRequestError: It is not.
    """
    # In whole milliseconds: an integer of any size compares, where a float would overflow.
    if abs(round(now * 1000) - signed_at * 1000) > WINDOW_S * 1000:
        raise StaleRequestError("signed more than 30 s ago, or for later")
