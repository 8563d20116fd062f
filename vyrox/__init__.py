"""Vyrox: EDR alerts in without losing one, approved containment out exactly once."""
