"""What came of a run: whether its strategies started, saw their instruments, and answered without failing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alpha_cli.core.errors import AlphaError, ConfigurationError, NoInput, StrategiesFailed
from alpha_cli.stages.run_strategy.status import StrategyStatus

_MOST_NAMED = 3
#: The state of a strategy that asked for what only fills can tell.
LACKS_FILLS = "paused (fills)"


def failure(found: Sequence[StrategyStatus], stranger: int | None) -> AlphaError | None:
    """Return why the run did nothing, or None if some strategy was called and answered, or nothing came at all.

    found     the figures of all strategies
    stranger  an instrument that none of them follows, and of which something came
    """
    started = _started(found)
    if not started:
        disabled = [f"{status.id}: {status.reason}" for status in found]
        return ConfigurationError(f"no strategy could start: {_some(disabled, '; ')}") if disabled else None
    if stranger is not None and all(_is_absent(status) for status in started):
        tokens = dict.fromkeys(token for status in started for token in status.absent)
        return NoInput(
            f"nothing came of {_instruments(tokens)}, which the strategies follow; the input has {stranger}, for one: "
            "correct `instruments` in their configurations, or the input"
        )
    called = [status for status in started if status.calls]
    if called and all(_has_failed(status) for status in called):
        counts = [f"{status.id}: {status.failed}" for status in called]
        return StrategiesFailed(f"every call of every strategy failed ({_some(counts, ', ')}); see the lines above")
    if called and all(_has_failed(status) or status.state == LACKS_FILLS for status in called):
        names = [status.id for status in called]
        return StrategiesFailed(f"every strategy was stopped ({_some(names, ', ')}); see the lines above")
    return None


def remarks(found: Sequence[StrategyStatus], stranger: int | None, outside: int) -> list[str]:
    """Return a line for each strategy that did nothing, or saw only some of its instruments, while others worked.

    outside  ticks of their instruments outside trading hours
    """
    if failure(found, stranger) is not None:
        return []
    started = _started(found)
    came = stranger is not None or any(len(status.absent) < status.instruments for status in started)
    lines = []
    if outside and not any(status.calls for status in started):
        lines.append(
            f"all {outside} ticks came outside trading hours, so no strategy was called; --all-hours uses them"
        )
    for status in started if came else ():
        if status.absent:
            share = "" if _is_absent(status) else f" (of its {status.instruments})"
            lines.append(f"{status.id}: nothing came of {_instruments(status.absent)}{share}")
        if status.lacks_bars:
            lines.append(
                f"{status.id}: its on_bar was never called: declare bars = ('1m',) in its class, or put alpha bars "
                "before run-strategy"
            )
        if _has_failed(status):
            lines.append(f"{status.id}: every call failed ({status.failed}); other strategies went on")
    return lines


def _started(found: Iterable[StrategyStatus]) -> list[StrategyStatus]:
    return [status for status in found if status.state != "disabled"]


def _is_absent(status: StrategyStatus) -> bool:
    return len(status.absent) == status.instruments


def _has_failed(status: StrategyStatus) -> bool:
    return 0 < status.calls <= status.failed


def _instruments(tokens: Iterable[int]) -> str:
    several = [str(token) for token in tokens]
    return f"instrument {several[0]}" if len(several) == 1 else f"instruments {_some(several, ', ')}"


def _some(texts: Sequence[str], between: str) -> str:
    """Return the first of `texts`, and how many more there are."""
    more = len(texts) - _MOST_NAMED
    return between.join(texts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
