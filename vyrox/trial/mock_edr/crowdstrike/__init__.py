"""CrowdStrike Falcon: the endpoints, and the completion of pending changes."""

from typing import Final

from vyrox.trial.mock_edr.crowdstrike import alerts, gateway, hosts, rtr, sensor
from vyrox.trial.mock_edr.exchange import Api, Change, Endpoint
from vyrox.trial.mock_edr.state import CrowdStrike

_RTR: Final = "/real-time-response/entities"


def _settle(state: CrowdStrike, _now: float) -> tuple[Change, ...]:
    for device in state.devices.values():
        hosts.settle_device(device)
    return sensor.run_queued(state)


API: Final = Api(
    vendor="crowdstrike",
    endpoints=(
        Endpoint("token", "POST", "/oauth2/token", gateway.issue_token),
        Endpoint("revoke", "POST", "/oauth2/revoke", gateway.revoke_token),
        Endpoint("device_query", "GET", "/devices/queries/devices/v1", hosts.query_devices),
        Endpoint("device_read", "GET", "/devices/entities/devices/v2", hosts.read_devices),
        Endpoint("device_read", "POST", "/devices/entities/devices/v2", hosts.read_devices),
        Endpoint("online_state", "GET", "/devices/entities/online-state/v1", hosts.read_online),
        Endpoint("device_action", "POST", "/devices/entities/devices-actions/v2", hosts.act),
        Endpoint("alert_query", "GET", "/alerts/queries/alerts/v2", alerts.query_alerts),
        Endpoint("alert_read", "POST", "/alerts/entities/alerts/v2", alerts.read_alerts),
        Endpoint("rtr_list", "GET", "/real-time-response/queries/sessions/v1", rtr.list_sessions),
        Endpoint("rtr_open", "POST", f"{_RTR}/sessions/v1", rtr.open_session),
        Endpoint("rtr_refresh", "POST", f"{_RTR}/refresh-session/v1", rtr.refresh_session),
        Endpoint("rtr_close", "DELETE", f"{_RTR}/sessions/v1", rtr.close_session),
        Endpoint("rtr_command", "POST", f"{_RTR}/command/v1", rtr.send_read_command),
        Endpoint("rtr_command_read", "GET", f"{_RTR}/command/v1", rtr.read_read_command),
        Endpoint(
            "rtr_responder_command",
            "POST",
            f"{_RTR}/active-responder-command/v1",
            rtr.send_responder_command,
        ),
        Endpoint(
            "rtr_responder_command_read",
            "GET",
            f"{_RTR}/active-responder-command/v1",
            rtr.read_responder_command,
        ),
        Endpoint(
            "rtr_queued_delete",
            "DELETE",
            f"{_RTR}/queued-sessions/command/v1",
            rtr.delete_queued_command,
        ),
    ),
    refuse=gateway.refuse,
    with_errors=gateway.with_errors,
    complete=gateway.complete,
    limit=gateway.limit,
    settle=_settle,
)
"""The endpoints that Vyrox uses, and similar ones that a careless client could use instead."""
