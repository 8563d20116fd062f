"""The envelope that every answer of CrowdStrike's API comes in.

Source: gofalcon `falcon/models/`, `MsaspecResponse` and its kin.
"""

from typing import Generic, TypeVar

import msgspec

from vyrox.edr.transport.calls import VendorResponse

T = TypeVar("T")


class _Reason(msgspec.Struct, frozen=True):
    code: int | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A success may carry errors as well; its text is in the answer."""

    resources: list[T] | None = None
    errors: list[_Reason] | None = None


def resources(answer: VendorResponse, decoder: msgspec.json.Decoder[Page[T]]) -> list[T]:
    """Return what the vendor has found, or done, which may be nothing.

    Raises:
        VendorError: It has refused the call, or failed it in a success that names errors alone.
        VendorOutcomeUnknownError: It names errors and something that it has done.
    """
    page = answer.decode(decoder)
    found = page.resources or []
    if page.errors and found:
        raise answer.unusable("errors beside a result")
    if page.errors:
        raise answer.refusal()
    return found
