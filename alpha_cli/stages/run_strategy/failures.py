"""How calls of strategies fail, and what is said of it: what was raised, and where in the author's file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb

from alpha_cli.core.events import Tick
from alpha_cli.stages.run_strategy.watchdog import Overtime
from alpha_cli.stream.shutdown import LeaveNow

#: Package of the modules loaded from files of strategies.
PACKAGE = "alpha_strategies"
_OURS = str(Path(__file__).parents[2])


#: Answers to denials and order updates that a strategy may give between two ticks of its instrument.
MOST_ANSWERS = 100


class Rejected(Exception):
    """The validator refused a result; the message is its reason."""


class InvalidResult(Rejected):
    """A strategy returned something that is not a `SignalResult`. It counts as a failure, like an exception."""


class EndlessAnswers(Exception):
    """A strategy answers each report on its orders with another order."""


class Disabled(Exception):
    """A strategy cannot run at all; the message says why. The others continue."""


def describe_error(error: BaseException) -> str:
    """Format an exception on one line, even if its `__str__` raises."""
    if isinstance(error, SyntaxError) and error.lineno:  # its text names the file once more
        return f"{type(error).__name__}: {error.msg} (line {error.lineno})"
    try:
        text = _of_tick(error) or " ".join(str(error).split())
    except (LeaveNow, Overtime):
        raise
    except BaseException:  # its own __str__ fails
        text = "(no message)"
    return f"{type(error).__name__}: {text or '(no message)'}"


def describe_failure(error: BaseException) -> str:
    """Format an exception that a strategy raised on one line, with the file and line of the author's that led to it."""
    lines = list(_lines(error))
    own = [(file, line) for module, file, line in lines if module.startswith(f"{PACKAGE}.")]
    other = [(file, line) for _, file, line in lines if not file.startswith(_OURS)]
    places = own or other
    return describe_error(error) + (f" ({places[-1][0]}, line {places[-1][1]})" if places else "")


def _lines(error: BaseException) -> Iterator[tuple[str, str, int]]:
    """Yield (module, file, line) of each call that the exception came through, the innermost last."""
    for frame, line in walk_tb(error.__traceback__):
        yield str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, line


def _of_tick(error: BaseException) -> str | None:
    """Return the text for a field that a tick does not have; its class in the loop has a name of its own."""
    if isinstance(error, AttributeError) and isinstance(error.obj, Tick):
        return f"a tick has no {error.name!r}; it has {', '.join(Tick.__struct_fields__)}"
    return None
