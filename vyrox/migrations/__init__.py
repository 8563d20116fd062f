"""The schema's history, run by `vyrox.db`."""
