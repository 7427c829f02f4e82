"""The check of the results of a strategy, also in unusual markets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from alpha_cli.core.events import Tick
from alpha_cli.core.times import IST
from alpha_cli.kit.signal_result import SignalResult
from alpha_cli.stages.run_strategy.capabilities import adapted, capability
from alpha_cli.stages.run_strategy.failures import describe_error
from alpha_cli.tools.strategies.conformance.subject import Subject
from alpha_cli.tools.strategies.conformance.verdict import FAIL, WARNING, Verdict


def check_answers(subject: Subject) -> str:
    """Check that it returns a `SignalResult` or None and never raises, also in unusual markets."""
    answers = Answers(subject)
    for series, ticks in _series(subject):
        answers.start(series)
        trial = subject.trial(watch=answers.watch)
        trial.run(subject.seen(ticks))
        answers.signals += trial.strategy.signals
        answers.refused += trial.strategy.rejected
        if trial.strategy.errors and not answers.faults:  # of an answer that cannot be put on the wire
            raise Verdict(FAIL, trial.reports[-1])
        for executor in trial.executors:
            answers.attempt("warmup", executor.warmup)
        for processor in trial.strategy.processors:
            shutdown = capability(processor, "shutdown")
            if shutdown is not None:
                answers.attempt("shutdown", adapted(shutdown, 0, None))
    if answers.faults:
        raise Verdict(FAIL, f"{answers.faults[0]}; {len(answers.faults):,} such in all")
    refused = f", {answers.refused:,} refused by its validator" if answers.refused else ""
    summary = f"{answers.total:,} calls, {answers.signals:,} signals{refused}"
    if not answers.signals:
        raise Verdict(WARNING, f"{summary}: where checks compare signals, they have little to compare")
    return summary


class Answers:
    """Records the results of a strategy."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._series = ""
        self._count = 0  # calls on it
        self.total = self.signals = self.refused = 0
        self.faults: list[str] = []

    def start(self, series: str) -> None:
        """Start the series of that name."""
        self._series, self._count = series, 0

    def watch(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return `method`, with its results checked."""

        def watched(*given: Any) -> Any:
            self._count += 1
            self.total += 1
            answer = self.attempt(f"call {self._count:,}", method, *given)
            if answer is not None and not isinstance(answer, SignalResult):
                self._fault(f"answers {type(answer).__name__}, not SignalResult or None, in call {self._count:,}")
            return answer

        return watched

    def attempt(self, what: str, method: Callable[..., Any], *given: Any) -> Any:
        """Return what `method` returns; if it raises, None, and record a fault."""
        try:
            return method(*given)
        except (Exception, SystemExit) as error:
            self._fault(f"{what} raises {describe_error(error)}{self._subject.where(_frames_of(error))}")
            return None

    def _fault(self, text: str) -> None:
        self.faults.append(f"on {self._series}: {text}")


def _frames_of(error: BaseException) -> list[tuple[str, int]]:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return frames[::-1]


def _series(subject: Subject) -> Iterator[tuple[str, list[Tick]]]:
    """Yield the name and the ticks of each market that a strategy must handle."""
    yield "the synthetic market", subject.synthetic()
    walk = [1_000 + (7 * step % 83) / 20 - (11 * step % 37) / 10 for step in range(600)]
    yield "ticks with nothing but a price", _ticks(subject, walk)
    yield "a single tick", _ticks(subject, [100.0] * len(subject.config.instruments))
    yield "prices that stand still", _ticks(subject, [100.0] * 600)
    jumps = [price * (1, 1_000, 1, 0.001)[place // 40 % 4] for place, price in enumerate(walk)]
    yield "prices that jump a thousandfold", _ticks(subject, jumps)
    yield "the least and the largest prices", _ticks(subject, [(0.01, 9e11)[place // 3 % 2] for place in range(300)])
    yield "ticks all at one moment", _ticks(subject, walk, step=0)


def _ticks(subject: Subject, prices: Iterable[float], step: float = 1) -> list[Tick]:
    tokens = subject.config.instruments
    opening = datetime(2026, 1, 5, 9, 15, tzinfo=IST)
    return [
        Tick(tokens[place % len(tokens)], opening + timedelta(seconds=step * place), price)
        for place, price in enumerate(prices)
    ]
