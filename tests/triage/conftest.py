"""The stores of the alerts' tests: triage reads the same queue and rows."""

from tests.alerts.conftest import client, consumer, queue, sqlite

__all__ = ["client", "consumer", "queue", "sqlite"]
