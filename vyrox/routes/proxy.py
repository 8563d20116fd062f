"""The private listener: containment, alerts, incidents, and the audit log (contract 51)."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox.http.responses import JsonResponse
from vyrox.routes.alerts import finish_alert, list_of_alerts, one_alert
from vyrox.routes.approvals import one_approval, propose_action
from vyrox.routes.audit import checkpoint, export_entries, proof
from vyrox.routes.execute import execute, lift, use_break_glass
from vyrox.routes.incidents import CHANGES, list_of_incidents, one_incident
from vyrox.routes.signed import Proxy
from vyrox.routes.suppressions import (
    confirm_suppression,
    end_suppression,
    list_of_suppressions,
    make_suppression,
    preview_of_suppression,
)

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def create_routes() -> list[BaseRoute]:
    """Return the routes of the private listener."""
    return [
        Route("/execute", execute, methods=["POST"]),
        Route("/lift", lift, methods=["POST"]),
        Route("/break-glass", use_break_glass, methods=["POST"]),
        Route("/webhook", propose_action, methods=["POST"]),
        Route("/approvals/{proposal_id}", one_approval, methods=["GET"]),
        Route("/alerts", list_of_alerts, methods=["GET"]),
        Route("/alerts/{alert_id}", one_alert, methods=["GET"]),
        Route("/alerts/{alert_id}/finish", finish_alert, methods=["POST"]),
        Route("/incidents", list_of_incidents, methods=["GET"]),
        Route("/incidents/{incident_id}", one_incident, methods=["GET"]),
        *(
            Route(f"/incidents/{{incident_id}}/{name}", change, methods=["POST"])
            for name, change in CHANGES.items()
        ),
        Route("/suppressions", list_of_suppressions, methods=["GET"]),
        Route("/suppressions", make_suppression, methods=["POST"]),
        Route("/suppressions/preview", preview_of_suppression, methods=["GET"]),
        Route("/suppressions/{suppression_id}/confirm", confirm_suppression, methods=["POST"]),
        Route("/suppressions/{suppression_id}/end", end_suppression, methods=["POST"]),
        Route("/audit/checkpoint", checkpoint, methods=["GET"]),
        Route("/audit/export", export_entries, methods=["GET"]),
        Route("/audit/proof", proof, methods=["GET"]),
        Route("/health", report_health, methods=["GET"]),
        Route("/metrics", report_metrics, methods=["GET"]),
    ]


async def report_health(_request: Request) -> Response:
    """Return 200 while the process serves; check nothing (contract 28)."""
    return JsonResponse({"status": "ok"})


async def report_metrics(request: Request) -> Response:
    """Return what is measured, in Prometheus' text format (contract 98)."""
    proxy: Proxy = request.app.state.proxy
    return Response(await proxy.metrics(), headers={"content-type": METRICS_TYPE})
