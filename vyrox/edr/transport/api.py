"""One vendor's API with one tenant's credentials: authorized requests, and refusals."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from vyrox.edr.client import Deadline, Order
from vyrox.edr.transport.calls import MAX_RESPONSE_BYTES, VendorRequest, VendorResponse
from vyrox.edr.transport.rate_limits import RetryingSender, Sleep
from vyrox.edr.transport.tokens import Authorization

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429


class VendorApi:
    """Sends requests to one vendor for one tenant."""

    def __init__(
        self,
        base_url: str,
        sender: RetryingSender,
        authorization: Authorization,
        refusals: frozenset[int],
    ) -> None:
        """`refusals` are the statuses that prove that the vendor has done nothing."""
        self._base_url = base_url
        self._sender = sender
        self._authorization = authorization
        self._refusals = refusals

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return self._base_url

    @property
    def sleep(self) -> Sleep:
        """Waits between two polls."""
        return self._sender.sleep

    @property
    def authorization(self) -> Authorization:
        """The source of the token, for `check`."""
        return self._authorization

    def request(
        self,
        name: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> VendorRequest:
        """Return a request that changes nothing: a POST with the JSON of `body`, or a GET.

        Args:
            path: Consists of constants and checked identifiers only.
            max_bytes: A longer response is refused.
        """
        return VendorRequest(
            name=name,
            method="GET" if body is None else "POST",
            url=self._base_url + path,
            query=query or {},
            body=None if body is None else msgspec.json.encode(body),
            max_bytes=max_bytes,
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
        """Return a POST that carries out `order`. Path and body are as for `request`."""
        return replace(self.request(name, path, query=query, body=body), order=order)

    def deletion(self, name: str, path: str, query: Mapping[str, str]) -> VendorRequest:
        """Return a DELETE."""
        return VendorRequest(name=name, method="DELETE", url=self._base_url + path, query=query)

    async def send(self, request: VendorRequest, deadline: Deadline) -> VendorResponse:
        """Return the response to `request`: a success, or a refusal. A refusal proves no change.

        After a 401 the token is renewed and the request is sent again, once.

        Raises:
            VendorError: The vendor is unavailable, or its response is invalid.
            VendorOutcomeUnknownError: The same, and the request may have changed something.
        """
        authorization = await self._authorization.value(deadline)
        response = await self._sender.exchange(request, deadline, authorization)
        if response.status == _UNAUTHORIZED and self._authorization.discard(authorization):
            authorization = await self._authorization.value(deadline)
            response = await self._sender.exchange(request, deadline, authorization)
        if response.succeeded or response.status in self._refusals:
            return response
        raise response.unusable("unexpected status")

    async def read(self, request: VendorRequest, deadline: Deadline) -> VendorResponse:
        """Return the success that answers `request`, which changes nothing.

        Raises:
            VendorBusyError: The vendor asks for a pause that is too long for the deadline, or
                asks for one after the last retry.
            VendorError: The vendor refuses, is unavailable, or its response is invalid.
        """
        response = await self.send(request, deadline)
        if response.status == _TOO_MANY:
            raise self._sender.busy(response)
        if not response.succeeded:
            raise response.refusal()
        return response

    async def is_allowed(
        self, request: VendorRequest, deadline: Deadline, also: frozenset[int] = frozenset()
    ) -> bool | None:
        """Return whether the credentials may send `request`, None if the response does not show it.

        Args:
            also: Refusals that the vendor returns only if the permission is present.

        Raises:
            VendorError: The vendor rejects the credentials, or is unavailable.
        """
        response = await self.send(request, deadline)
        if response.status == _UNAUTHORIZED:
            raise response.refusal()
        if response.status == _FORBIDDEN:
            return False
        return True if response.succeeded or response.status in also else None
