"""The promised numbers, measured: a script for each, and `python -m benchmarks` for all."""
