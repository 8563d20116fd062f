"""Runs the migrations on the connection and in the transaction of `store.schema`."""

from alembic import context

from vyrox.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
