"""What watches the event loop in tests of the whole application."""

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import blockbuster_ctx


@contextmanager
def nothing_blocks_the_loop() -> Iterator[None]:
    """Raise where the product makes a call that would keep every other request waiting."""
    with blockbuster_ctx("vyrox") as watcher:
        for function in watcher.functions.values():
            # Half a millisecond for each new connection: what redis-py says of its own version, and
            # whether asyncpg finds a password file.
            function.can_block_in("redis/utils.py", "get_lib_version")
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
            # The coverage measurement waits for itself if two threads reach a new file at once.
            # Raised from there, the error would end the running task.
            function.can_block_in("coverage/collector.py", "lock_data")
            # A test opens another database.
            function.can_block_in("tests/ready_schema.py", "connect_to_copy")
            # Up to two milliseconds, so that SQLite's thread has the interpreter to itself.
            function.can_block_in("vyrox/store/sqlite.py", "_yield_until")
        yield
