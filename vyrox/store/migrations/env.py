"""Runs the migrations on the connection and in the transaction of `store.schema`."""

from alembic import context

from vyrox.store.indexes import SCHEMA

context.configure(connection=context.config.attributes["connection"], target_metadata=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
