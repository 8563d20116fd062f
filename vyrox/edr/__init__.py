"""The clients of the vendors' response APIs."""
