"""The schema's history, run by `vyrox.store.database`."""
