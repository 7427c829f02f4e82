"""Where `alpha` and `python -m alpha_cli` begin."""

# Until the loop has its own handlers, Ctrl-C simply ends a program that has done nothing yet. This comes before
# everything else, and `_signal` is part of the interpreter: in Python's own handler an import that is interrupted would
# end in a traceback.
import _signal  # type: ignore[import-not-found]

_signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import sys  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the console command."""
    from alpha_cli.cli.app import start

    sys.exit(start(sys.argv[1:]))


if __name__ == "__main__":
    main()
