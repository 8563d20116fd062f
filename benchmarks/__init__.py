"""Measures the promised numbers: one script for each, `python -m benchmarks` for all."""
