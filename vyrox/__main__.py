"""`python -m vyrox`, for where the package is not installed."""

from vyrox.cli import main

main()
