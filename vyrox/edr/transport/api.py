"""One vendor's API with one tenant's credentials: authorized calls, and what a refusal is."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

import msgspec

from vyrox.edr.client import Deadline, Order
from vyrox.edr.transport.calls import VendorRequest, VendorResponse
from vyrox.edr.transport.rate_limits import RetryingSender, Sleep
from vyrox.edr.transport.tokens import Authorization

T = TypeVar("T")

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


class VendorApi:
    """Sends calls to one vendor for one tenant."""

    def __init__(
        self,
        base_url: str,
        patience: RetryingSender,
        authorization: Authorization,
        refusals: frozenset[int],
    ) -> None:
        """`refusals` are the statuses with which the vendor says that it has done nothing."""
        self._base_url = base_url
        self._patience = patience
        self._authorization = authorization
        self._refusals = refusals

    @property
    def sleep(self) -> Sleep:
        """What waits between two looks at the same thing."""
        return self._patience.sleep

    @property
    def authorization(self) -> Authorization:
        """For who wants to look at the token itself."""
        return self._authorization

    def call(
        self,
        name: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> VendorRequest:
        """Return a call that changes nothing: a POST with the JSON of `body`, or a GET.

        Args:
            path: Made of constants and checked identifiers only.
        """
        return VendorRequest(
            name=name,
            method="GET" if body is None else "POST",
            url=self._base_url + path,
            query=query or {},
            body=None if body is None else msgspec.json.encode(body),
        )

    def change(
        self,
        name: str,
        path: str,
        order: Order,
        *,
        query: Mapping[str, str] | None = None,
        body: object,
    ) -> VendorRequest:
        """Return a POST that carries out `order`. Path and body are as for `call`."""
        return replace(self.call(name, path, query=query, body=body), order=order)

    def deletion(self, name: str, path: str, query: Mapping[str, str]) -> VendorRequest:
        """Return a DELETE."""
        return VendorRequest(name=name, method="DELETE", url=self._base_url + path, query=query)

    async def send(self, call: VendorRequest, deadline: Deadline) -> VendorResponse:
        """Return the answer to `call`: a success, or one that says that nothing was done.

        A 401 says so too: the token is renewed, once, and the call is sent once more.

        Raises:
            VendorError: The vendor is away, or answers what cannot be believed.
            VendorOutcomeUnknownError: So it did to a call that changes something.
        """
        authorization = await self._authorization.value(deadline)
        answer = await self._patience.exchange(call, deadline, authorization)
        if answer.status == _UNAUTHORIZED and self._authorization.discard(authorization):
            authorization = await self._authorization.value(deadline)
            answer = await self._patience.exchange(call, deadline, authorization)
        if answer.succeeded or answer.status in self._refusals:
            return answer
        raise answer.unusable("not an answer to this")

    async def read(
        self, call: VendorRequest, decoder: msgspec.json.Decoder[T], deadline: Deadline
    ) -> T:
        """Return the decoded body of the answer to `call`.

        Raises:
            VendorError: As `send`; or the vendor refuses; or it cannot be read.
            VendorOutcomeUnknownError: As `send`; or it cannot be read.
        """
        return (await self.send(call, deadline)).decode(decoder)

    async def is_allowed(
        self, call: VendorRequest, deadline: Deadline, also: frozenset[int] = frozenset()
    ) -> bool | None:
        """Return whether the credentials may make `call`, None where its answer does not tell.

        Args:
            also: Refusals that only someone who may make the call gets to see.

        Raises:
            VendorError: The credentials themselves are refused, or the vendor is away.
        """
        answer = await self.send(call, deadline)
        if answer.status == _UNAUTHORIZED:
            raise answer.refusal()
        if answer.status == _FORBIDDEN:
            return False
        return True if answer.succeeded or answer.status in also else None
