"""A log line from within a signal handler, which may have interrupted the log itself."""

import json
import os
import sys


def log_line(event: str, **members: int) -> None:
    """Write one line, in one piece and without a lock."""
    os.write(sys.stderr.fileno(), json.dumps({"event": event, **members}).encode() + b"\n")
