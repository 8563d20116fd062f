"""The console's application: its routes, and the layers around them (contract 66)."""

import contextlib

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from vyrox.console import (
    alerts,
    audit,
    audit_checks,
    benign,
    by_link,
    changes,
    dead,
    device,
    enrolling,
    glasses,
    home,
    incident,
    incident_steps,
    incidents,
    own_keys,
    proposals,
    quarantine,
    reports,
    sign_in,
    tenants,
)
from vyrox.console.guard import Guard, SecureHeaders
from vyrox.console.incident_steps import step_route
from vyrox.console.pages import error_page, static_file
from vyrox.console.parts import signed_in
from vyrox.errors import NotFoundError, VyroxError
from vyrox.http.application import JsonApplication, RequestContext, handle_http_exception


def create_console(origin: str) -> Starlette:
    """Return the application for `origin`. Its `state.console` must be set before it serves."""
    return _ConsoleApplication(origin)


class _ConsoleApplication(JsonApplication):
    def __init__(self, origin: str) -> None:
        super().__init__(create_routes())
        self._origin = origin

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers. Starlette calls this once."""
        routes = ExceptionMiddleware(self.router, {HTTPException: _handle})
        guarded = Guard(routes, self._origin)
        return SecureHeaders(RequestContext(guarded, respond=error_page))


async def _handle(request: Request, error: Exception) -> Response:
    response = await handle_http_exception(request, error)
    if response.status_code != 404:
        return response
    with contextlib.suppress(VyroxError):  # a person gets the navigation
        await signed_in(request)
    return error_page(request.scope, NotFoundError())


def create_routes() -> list[BaseRoute]:
    """Return the routes of the console. Only a POST changes anything (A15)."""
    return [
        Route("/", home.home, methods=["GET"]),
        Route("/sign-in", sign_in.sign_in_page, methods=["GET"]),
        Route("/sign-in", sign_in.sign_in, methods=["POST"]),
        Route("/sign-out", sign_in.sign_out, methods=["POST"]),
        Route("/sign-out/everywhere", sign_in.sign_out_everywhere, methods=["POST"]),
        Route("/link", by_link.link_page, methods=["GET"]),
        Route("/link", by_link.sign_in, methods=["POST"]),
        Route("/enrol", enrolling.enrol_page, methods=["GET"]),
        Route("/enrol/open", enrolling.open_link, methods=["POST"]),
        Route("/enrol", enrolling.enrol, methods=["POST"]),
        Route("/keys", own_keys.keys_page, methods=["GET"]),
        Route("/keys/statement", own_keys.further_key, methods=["POST"]),
        Route("/keys/add", own_keys.add_key, methods=["POST"]),
        Route("/keys/remove", own_keys.remove_key, methods=["POST"]),
        Route("/approvals/{proposal_id}", proposals.proposal_page, methods=["GET"]),
        Route("/approvals/{proposal_id}", proposals.decide, methods=["POST"]),
        Route(
            "/approvals/{proposal_id}/statements", proposals.statements_to_sign, methods=["POST"]
        ),
        Route("/propose/{incident_id}", proposals.suggested_page, methods=["GET"]),
        Route("/incidents", incidents.incident_list, methods=["GET"]),
        Route("/incidents/{incident_id}", incident.incident_page, methods=["GET"]),
        Route("/incidents/{incident_id}/alerts", incidents.incident_alerts, methods=["GET"]),
        Route("/incidents/{incident_id}/benign", benign.benign_page, methods=["GET"]),
        Route("/incidents/{incident_id}/propose", incident_steps.propose_action, methods=["POST"]),
        *(
            Route(f"/incidents/{{incident_id}}/{name}", step_route(name), methods=["POST"])
            for name in incident_steps.STEPS
        ),
        Route("/devices/{tenant_id}/{host:path}", device.device_page, methods=["GET"]),
        Route("/changes/{change_id}", changes.change_page, methods=["GET"]),
        Route("/changes/{change_id}", changes.endorse, methods=["POST"]),
        Route("/changes/{change_id}/statement", changes.statement, methods=["POST"]),
        Route("/break-glass/{glass_id}", glasses.glass_page, methods=["GET"]),
        Route("/break-glass/{glass_id}", glasses.acknowledge, methods=["POST"]),
        Route("/break-glass/{glass_id}/statement", glasses.statement, methods=["POST"]),
        Route("/audit", audit.audit_page, methods=["GET"]),
        Route("/audit/verify", audit_checks.verify, methods=["POST"]),
        Route("/audit/download", audit_checks.download, methods=["POST"]),
        Route("/audit/{tenant_id}/{stream}/{sequence:int}", audit.entry_page, methods=["GET"]),
        Route("/reports", reports.report_page, methods=["GET"]),
        Route("/reports.csv", reports.report_csv, methods=["GET"]),
        Route("/alerts", alerts.alerts_page, methods=["GET"]),
        Route("/alerts/{alert_id}", alerts.alert_page, methods=["GET"]),
        Route("/alerts/{alert_id}/raw", alerts.alert_raw, methods=["GET"]),
        Route("/alerts/{alert_id}/verdict", alerts.give_verdict, methods=["POST"]),
        Route("/quarantine", quarantine.quarantine_page, methods=["GET"]),
        Route("/quarantine/{quarantine_id}", quarantine.payload_page, methods=["GET"]),
        Route("/quarantine/{quarantine_id}/raw", quarantine.payload_raw, methods=["GET"]),
        Route("/quarantine/{quarantine_id}/replay", quarantine.replay, methods=["POST"]),
        Route("/quarantine/{quarantine_id}/dismiss", quarantine.dismiss_payload, methods=["POST"]),
        Route("/dead", dead.dead_page, methods=["GET"]),
        Route("/dead/{alert_id}/revive", dead.revive, methods=["POST"]),
        Route("/tenants", tenants.tenants_page, methods=["GET"]),
        Route("/tenants/{tenant_id}", tenants.tenant_page, methods=["GET"]),
        Route("/tenants/{tenant_id}/freeze", tenants.freeze_page, methods=["GET"]),
        Route("/tenants/{tenant_id}/freeze", tenants.freeze, methods=["POST"]),
        Route("/tenants/{tenant_id}/unfreeze", tenants.freeze_page, methods=["GET"]),
        Route("/tenants/{tenant_id}/unfreeze", tenants.unfreeze, methods=["POST"]),
        Route("/static/{name}", static_file, methods=["GET"]),
    ]
