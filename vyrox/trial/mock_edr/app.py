"""The mock as one application: it records each request and sends the response."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from vyrox.clock import Clock
from vyrox.trial.mock_edr.clouds import START_AT, Clouds
from vyrox.trial.mock_edr.control import create_routes
from vyrox.trial.mock_edr.delivery import deliver
from vyrox.trial.mock_edr.recording import RecordedRequest


class MockEdr(Clouds):
    """The clouds of all three vendors, as an ASGI application.

    Attributes:
        app: The application. The base URLs are `/crowdstrike`, `/sentinelone` and `/defender`, with
            Microsoft's token endpoint at `/defender/login`; `/_mock` is the mock's own.
    """

    def __init__(self, clock: Clock = lambda: START_AT) -> None:
        super().__init__(clock)
        self.app = Starlette(routes=[Mount("/_mock", routes=create_routes(self)), Mount("/", self)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to a vendor."""
        body = await Request(scope, receive).body()
        request = RecordedRequest(
            number=len(self.requests) + 1,
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            ),
            body=body,
        )
        fault, answer = self.answer(request)
        await deliver(fault, answer, request, scope, receive, send)
