"""Where `alpha` and `python -m alpha_cli` begin."""

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the console command."""
    # Until the loop has its own handlers, Ctrl-C simply ends a program that has done nothing yet.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from alpha_cli.cli.app import start

    sys.exit(start(sys.argv[1:]))


if __name__ == "__main__":
    main()
