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
    late_ms = round(now * 1000) - signed_at * 1000
    if abs(late_ms) > WINDOW_S * 1000:
        raise StaleRequestError(
            f"the request's time is {_length(late_ms)} the service's time, "
            f"and at most {WINDOW_S} s are allowed"
        )


def _length(late_ms: int) -> str:
    seconds = -(-abs(late_ms) // 1000)
    shown = f"{seconds} s" if seconds < 10**9 else "years"
    return f"{shown} {'before' if late_ms > 0 else 'after'}"
