"""The private listener: containment, alerts, and the audit log (contract 19 to 28 and 50)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox.http.responses import JsonResponse
from vyrox.routes.alerts import finish_alert, list_of_alerts, one_alert
from vyrox.routes.audit import export_entries
from vyrox.routes.execute import execute, lift


def create_routes() -> list[BaseRoute]:
    """Return the routes of the private listener."""
    return [
        Route("/execute", execute, methods=["POST"]),
        Route("/lift", lift, methods=["POST"]),
        Route("/alerts", list_of_alerts, methods=["GET"]),
        Route("/alerts/{alert_id}", one_alert, methods=["GET"]),
        Route("/alerts/{alert_id}/finish", finish_alert, methods=["POST"]),
        Route("/audit/export", export_entries, methods=["GET"]),
        Route("/health", report_health, methods=["GET"]),
    ]


async def report_health(_request: Request) -> Response:
    """Return 200 while the process serves; check nothing (contract 28)."""
    return JsonResponse({"status": "ok"})
