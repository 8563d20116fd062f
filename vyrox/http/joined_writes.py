"""Sends the head of a response together with the first part of its body.

uvicorn writes the two separately. For a short response that costs a second system call, a second
segment on the wire, and a second wake-up of the client.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class JoinedWrites(asyncio.Transport):
    """Joins the first two writes of one response, then removes itself.

    It must not be used for HEAD: such a response ends with its head.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        """Write to the transport of `cycle`; the caller makes this object its transport."""
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Keep the head until the body follows; write everything else."""
        if self._head is not None:
            self._remove_itself()
            self._transport.write(self._head + data)
        elif not self._cycle.response_started:
            self._transport.write(data)  # 100 Continue
        elif self._cycle.more_body:
            # The request is still arriving. It may be refused, which ends the response early, so
            # the head must be sent now.
            self._remove_itself()
            self._transport.write(data)
        else:
            self._head = data

    def _remove_itself(self) -> None:
        # The cycle and this object refer to each other. Without this line, a finished response
        # would stay in memory until the garbage collector runs.
        self._cycle.transport = self._transport

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection after all written data is sent."""
        self._transport.close()
