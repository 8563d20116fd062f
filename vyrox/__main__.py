"""Where every `vyrox` begins, also as `python -m vyrox`."""

import sys


def main() -> None:
    """Run the command line and exit; Ctrl-C prints no traceback, also while modules load."""
    try:
        from vyrox.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
