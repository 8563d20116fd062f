"""The migrations, which `vyrox.store.schema` runs."""
