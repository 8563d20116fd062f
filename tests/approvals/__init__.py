"""Tests of `vyrox.approvals`."""
