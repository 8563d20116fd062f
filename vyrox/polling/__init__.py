"""Pulls alerts from the vendors' APIs, for tenants that cannot open a port."""
