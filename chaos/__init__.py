"""Load and faults, with a count of what was lost: `python -m chaos`."""
