"""Sends a detection as a vendor does: again, if the service asks for that."""

import re
import time
from typing import Final

import httpx

from vyrox.trial.simulate.request import SignedRequest

ATTEMPTS: Final = 4
"""How often a detection is sent that the service asks to send again later."""

_SECONDS: Final = re.compile(r"[0-9]|[1-5][0-9]", re.ASCII)
"""A `Retry-After` that is worth waiting for."""


def posted(client: httpx.Client, request: SignedRequest) -> httpx.Response:
    """Send the same bytes again after a 503 that says when, as a vendor does."""
    left = ATTEMPTS
    while True:
        response = client.request(
            request.method, request.url, headers=request.headers, content=request.body
        )
        left -= 1
        later = response.headers.get("retry-after", "")
        is_refused = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
        if not (is_refused and left and _SECONDS.fullmatch(later)):
            return response
        time.sleep(int(later))  # the response has asked for this wait
