"""Ports for programs that need to know theirs before they start."""

import socket
from contextlib import suppress
from random import SystemRandom
from typing import Final

_CHOICE: Final = range(20_000, 32_000)
"""Below the ports that Linux chooses itself, for connections and for port 0."""


def free_port() -> int:
    """Return a port that is free, and that no other test gets by chance before it is used."""
    random = SystemRandom()  # Hypothesis seeds the other one alike in each worker
    while True:
        port = random.choice(_CHOICE)
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
