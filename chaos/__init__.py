"""Kills everything under load and counts what is lost: `make chaos`.

Each part is a module with `run`, which returns the rows of one table. The oracle compares four
lists that only grow: acknowledged alerts, queued alerts, changes at the vendor, and audit entries.
The service under test writes none of them: the first comes from the senders, the second from the
stores, the third from the mocked vendor, the fourth from the verifier.
"""
