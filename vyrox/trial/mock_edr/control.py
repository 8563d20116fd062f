"""The mock's own endpoints, for tests and users in another process. All bodies are JSON."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox.trial.mock_edr.clouds import Clouds
from vyrox.trial.mock_edr.exchange import VendorName
from vyrox.trial.mock_edr.faults import PlannedFault


class _Tick(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seconds: float = 0.0


def create_routes(clouds: Clouds) -> list[BaseRoute]:
    """Return the routes. Each route is one function below."""

    def route(path: str, method: str, answer: Callable[[Clouds, bytes], object]) -> Route:
        async def respond(request: Request) -> Response:
            try:
                status, content = 200, answer(clouds, await request.body())
            except (ValueError, RecursionError) as exc:
                status, content = 400, {"detail": str(exc)}
            return Response(msgspec.json.encode(content), status, media_type="application/json")

        return Route(path, respond, methods=[method])

    return [
        route("/state", "GET", lambda clouds, _: clouds.states),
        route("/state", "PATCH", _patch_state),
        route("/requests", "GET", _show_requests),
        route("/effects", "GET", lambda clouds, _: clouds.effects),
        route("/violations", "GET", lambda clouds, _: clouds.violations),
        route("/faults", "GET", lambda clouds, _: clouds.faults.planned),
        route("/faults", "POST", _plan_fault),
        route("/faults", "DELETE", _clear_faults),
        route("/tick", "POST", _tick),
    ]


def _patch_state(clouds: Clouds, body: bytes) -> object:
    """Change the vendors' states by JSON merge patch (RFC 7396): null removes a member."""
    clouds.patch(msgspec.json.decode(body, type=dict[VendorName, dict[str, object]]))
    return clouds.states


def _show_requests(clouds: Clouds, _body: bytes) -> object:
    return [
        {
            "number": request.number,
            "vendor": request.vendor,
            "endpoint": request.endpoint,
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "body": request.body.decode("utf-8", "backslashreplace"),
            "status": request.status,
            "fault": request.fault,
        }
        for request in clouds.requests
    ]


def _plan_fault(clouds: Clouds, body: bytes) -> object:
    planned = msgspec.json.decode(body, type=PlannedFault)
    clouds.faults.plan(planned.vendor, planned.endpoint, planned.fault, planned.nth)
    return clouds.faults.planned


def _clear_faults(clouds: Clouds, _body: bytes) -> object:
    clouds.faults.clear()
    return clouds.faults.planned


def _tick(clouds: Clouds, body: bytes) -> object:
    clouds.tick(msgspec.json.decode(body or b"{}", type=_Tick).seconds)
    return {"now": clouds.clock.now()}
