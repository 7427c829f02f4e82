"""What `alpha status` prints: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from alpha_cli.storage.halts import shown_path
from alpha_cli.tools.status.folder import DATABASE, STATUS, Folder, StageState

if TYPE_CHECKING:
    from alpha_cli.stages.risk.trading_state import TradingState
    from alpha_cli.stages.run_strategy.status import Status, StrategyStatus

_FIGURES = 6  # of a stage, that its row names


def for_programs(folder: Folder, state: str) -> Iterator[str]:
    """Yield one JSON object a line; `kind` says of what. The first has the `state` of the whole folder."""
    import msgspec

    def line(kind: str, values: dict[str, object]) -> str:
        return msgspec.json.encode({"kind": kind, **values}).decode()

    yield line("folder", {"path": shown_path(folder.path), "state": state, "halted": folder.halted})
    for standing in folder.standings:
        yield line("standing", {name: getattr(standing, name) for name in standing.__struct_fields__})
    for request in folder.asked:
        asked = {"action": request.action, "target": request.target, "reason": request.reason}
        yield line("request", {**asked, **request.value})
    for stage in folder.stages:
        yield line("stage", _stage_values(stage))
        for one in () if stage.status is None else stage.status.strategies:
            values = {name: getattr(one, name) for name in one.__struct_fields__}
            yield line("strategy", {"stage": stage.name, **values, "state": _state(stage, one)})


def _stage_values(stage: StageState) -> dict[str, object]:
    status = stage.status
    said = {
        name: None if status is None else getattr(status, name)
        for name in ("stage", "code", "why", "refuses", "last", "counts")
    }
    return {
        "name": stage.name,
        "state": stage.doing,
        "pid": stage.pid,
        "database": stage.database,
        "written": None if status is None else status.at,
        "fault": stage.fault,
        **said,
    }


def for_people(folder: Folder, now: datetime) -> Iterator[str]:
    """Yield whether trading is halted, a table of stages and one of strategies, and what cannot be read."""
    from alpha_cli.cli.tables import table

    yield from _halts(folder)
    if not folder.stages:
        yield f"{shown_path(folder.path)}: no stage has kept its state here"
        return
    yield ""
    columns = ("stage", "state", "process", "status written", "last line", "database", "did", "why")
    yield from table(columns, (_stage_row(stage, now) for stage in folder.stages))
    rows = list(_strategies(folder.stages))
    if rows:
        yield ""
        header = ("strategy", "type", "state", "model", "ticks", "signals", "held", "rejected", "errors",
                  "last signal", "p50 µs", "p99 µs", "stage", "why")  # fmt: skip
        yield from table(header, rows)
    faults = [f"{stage.name}{STATUS}: {stage.fault}" for stage in folder.stages if stage.fault is not None]
    if faults:
        yield from ("", *faults)


def _halts(folder: Folder) -> Iterator[str]:
    """Yield whether trading is halted, what risk stopped, and the requests that wait for risk."""
    from alpha_cli.cli.tables import table

    if folder.halted is not None:
        yield f"HALTED: {folder.halted}"
    else:
        yield f"no HALT; stopped by risk: {len(folder.standings)}" if folder.standings else "not halted"
    if folder.standings:
        yield ""
        columns = ("stopped", "broker", "state", "since", "limit", "observed", "why", "goes on with")
        yield from table(columns, map(_stopped, folder.standings))
    for request in folder.asked:
        target = f" {request.target}" if request.target else ""
        yield f"{request.action}{target} was asked for {request.reason}; risk acts on it when it runs and reads"
    for fault in folder.unread:
        yield f"not asked whether anything is stopped: {fault}"


def _stage_row(stage: StageState, now: datetime) -> tuple[str, ...]:
    from alpha_cli.cli.tables import NOTHING

    status = stage.status
    return (
        stage.name,
        stage.doing,
        NOTHING if stage.pid is None or not stage.running else str(stage.pid),
        NOTHING if status is None else f"{_time(status.at)}, {_ago(now - status.at)}",
        NOTHING if status is None or status.last is None else status.last[:19].replace("T", " "),
        f"{stage.name}{DATABASE}" if stage.database else NOTHING,
        NOTHING if status is None else _did(status.counts),
        "" if status is None else _why(stage, status),
    )


def _did(counts: dict[str, int]) -> str:
    """Return the first figures that are not 0; those of single strategies have rows of their own."""
    told = [f"{name}={count:,}" for name, count in counts.items() if count and "." not in name]
    return " ".join(told[:_FIGURES]) or "nothing yet"


def _why(stage: StageState, status: Status) -> str:
    from alpha_cli.core.errors import EXIT_CODES

    if status.refuses is not None:
        return f"refuses everything: {status.refuses}"
    if stage.running or not status.code:
        return ""
    name, _ = EXIT_CODES.get(status.code, ("", ""))
    return f"ended with {status.code}" + (f" ({name})" if name else "") + (f": {status.why}" if status.why else "")


def _strategies(stages: Iterable[StageState]) -> Iterator[tuple[str, ...]]:
    from alpha_cli.cli.tables import NOTHING

    for stage in stages:
        for one in () if stage.status is None else stage.status.strategies:
            yield (
                one.id,
                one.type or NOTHING,
                _state(stage, one),
                "yes" if one.has_model else "no",
                f"{one.ticks:,}",
                _signals(one),
                f"{one.held:,}",
                f"{one.rejected:,}",
                f"{one.errors:,}",
                NOTHING if one.last_signal is None else _time(one.last_signal),
                NOTHING if one.p50_us is None else f"{one.p50_us:,.1f}",
                NOTHING if one.p99_us is None else f"{one.p99_us:,.1f}",
                stage.name,
                one.reason or "",
            )


def _stopped(one: TradingState) -> tuple[str, ...]:
    from alpha_cli.cli.tables import NOTHING

    return (
        one.strategy_id or "account",
        one.broker,
        one.state,
        NOTHING if one.since is None else _time(one.since),
        NOTHING if one.limit is None else str(one.limit),
        NOTHING if one.observed is None else str(one.observed),
        f"{one.reason} ({one.code})",
        f"alpha rearm {one.strategy_id}" if one.strategy_id else "alpha resume",
    )


def _state(stage: StageState, one: StrategyStatus) -> str:
    """Return the strategy's state; of one that was running, the state of its stage."""
    return stage.doing if one.state == "running" else one.state


def _signals(one: StrategyStatus) -> str:
    brokers = " ".join(f"{broker}={count:,}" for broker, count in sorted(one.by_broker.items()))
    return f"{one.signals:,} ({brokers})" if brokers else f"{one.signals:,}"


def _time(moment: datetime) -> str:
    from alpha_cli.core.times import IST

    return moment.astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")


def _ago(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
