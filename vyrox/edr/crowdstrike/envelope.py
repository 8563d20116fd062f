"""The envelope of every response of CrowdStrike's API.

Source: gofalcon `falcon/models/`, `MsaspecResponse` and its kin.
"""

from typing import Generic, TypeVar

import msgspec

from vyrox.edr.transport.calls import VendorResponse

T = TypeVar("T")


class _Reason(msgspec.Struct, frozen=True):
    code: int | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """The body of a response. A success may contain errors too."""

    resources: list[T] | None = None
    errors: list[_Reason] | None = None


def resources(response: VendorResponse, decoder: msgspec.json.Decoder[Page[T]]) -> list[T]:
    """Return what the vendor found or did, which may be nothing.

    Raises:
        VendorError: The vendor refused the request, or its success contains errors only.
        VendorOutcomeUnknownError: The response contains errors and results.
    """
    page = response.decode(decoder)
    found = page.resources or []
    if page.errors and found:
        raise response.unusable("the response has errors and a result")
    if page.errors:
        raise response.refusal()
    return found
