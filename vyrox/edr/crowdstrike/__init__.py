"""CrowdStrike Falcon: containment, and the kill of a process through Real Time Response."""
