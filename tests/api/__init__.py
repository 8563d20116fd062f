"""Schemathesis against both listeners of a running service (contract 100).

`make test-api` runs it. `schemathesis.toml` has what is checked, and why what is not; `hooks.py`
signs the requests.
"""
