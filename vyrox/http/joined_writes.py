"""The head of an answer leaves together with the first of its body.

uvicorn writes each by itself. For an answer of a hundred bytes that is a second system call here,
a second segment on the wire, and a second wake-up of the client.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class JoinedWrites(asyncio.Transport):
    """Stands between the answer to one request and the connection's transport.

    Not for HEAD, whose answer ends with its head.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        """Take the place of the transport that `cycle` writes to."""
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Write `data`, and the head before it; the head itself waits."""
        if self._head is not None:
            self._step_out()
            self._transport.write(self._head + data)
        elif not self._cycle.response_started:
            self._transport.write(data)  # 100 Continue
        elif self._cycle.more_body:
            # While the request is still arriving it may yet be refused, and the answer cut short.
            self._step_out()
            self._transport.write(data)
        else:
            self._head = data

    def _step_out(self) -> None:
        # The cycle writes the rest by itself. While each refers to the other, an answer that is
        # done with waits in memory for the garbage collector.
        self._cycle.transport = self._transport

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection when what was written has gone out."""
        self._transport.close()
