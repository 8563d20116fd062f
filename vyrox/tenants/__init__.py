"""Tenants: their secrets, their vendor credentials and their guard rails."""
