"""Approvals: proposals, who may decide on them, and the one execution of each (contract 62)."""
