"""Read and check the data files of the calendar, and apply the user's corrections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, time
from itertools import pairwise

from alpha_cli.config.files import find_config, find_own_config, read_dated
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.market.calendar.data import (
    EXCHANGES,
    OWN_FILE,
    Dated,
    ExchangeData,
    PhaseTimes,
    Regime,
    Special,
    TimeRange,
)


def load(exchange: str) -> ExchangeData:
    """Return the data of one of `EXCHANGES`, with shared holidays and the user's corrections.

    Raises `ConfigurationError` for a missing or faulty file.
    """
    data = _read(exchange)
    if data.holidays_of is None:
        return _with_overrides(data)
    shared = _with_overrides(_read(data.holidays_of))
    if shared.holidays_of is not None:
        raise ConfigurationError(
            f"calendar of {exchange}: holidays_of: {shared.exchange} itself has holidays_of another"
        )
    data.holidays += _on_other_dates(data.holidays, shared.holidays)
    data.unknown += _on_other_dates(data.unknown, shared.unknown)
    data.valid_from = max(data.valid_from, shared.valid_from)
    data = _with_overrides(data)
    data.valid_through = min(data.valid_through, shared.valid_through)  # after that the shared holidays are not known
    return data


def _on_other_dates(own: Iterable[Dated], shared: Iterable[Dated]) -> tuple[Dated, ...]:
    """Return the entries of `shared` on dates that `own` does not have."""
    dates = {entry.date for entry in own}
    return tuple(entry for entry in shared if entry.date not in dates)


def _with_overrides(data: ExchangeData) -> ExchangeData:
    """Return `data` with the changes of the user's own file, if there is one."""
    own = find_own_config(OWN_FILE)
    if own is None:
        return data
    from alpha_cli.market.calendar.overrides import apply_overrides  # pydantic and YAML: only for whoever has the file

    data = apply_overrides(data, own)
    _check(data, str(own))
    return data


def _read(exchange: str) -> ExchangeData:
    path = find_config(f"calendar/{exchange}.json")
    data = read_dated(path, ExchangeData)
    if data.exchange != exchange:
        raise ConfigurationError(f"{path}: exchange: {printable(data.exchange)} in the file of {exchange}")
    _check(data, str(path))
    return data


def _check(data: ExchangeData, where: str) -> None:
    """Raise `ConfigurationError` for contradictions: overlapping sessions, regimes out of order, repeated dates."""
    for fault in _faults(data):
        raise ConfigurationError(f"{where}: {data.exchange}: {fault}")


def _faults(data: ExchangeData) -> Iterable[str]:
    if data.valid_through < data.valid_from:
        yield f"valid_through {data.valid_through} is before valid_from {data.valid_from}"
    if data.holidays_of is not None and (data.holidays_of not in EXCHANGES or data.holidays_of == data.exchange):
        yield f"holidays_of: {data.holidays_of[:40]!r} is not another exchange"
    starts = [regime.since for regime in data.regimes]
    if not starts or starts[0] > data.valid_from or starts != sorted(set(starts)):
        yield "regimes: the first must begin on or before valid_from, and each other later than the one before it"
    for regime in data.regimes:
        yield from (f"regimes: from {regime.since}: {fault}" for fault in _regime_faults(regime, data.evening))
    for name, dated in (("holidays", data.holidays), ("special", data.special), ("unknown", data.unknown)):
        dates: set[date] = set()
        for entry in dated:
            if entry.date in dates:
                yield f"{name}: {entry.date} is listed twice"
            dates.add(entry.date)
    if data.evening is None and any(holiday.closed != "all" for holiday in data.holidays):
        yield "holidays: only an exchange with an evening session can close for a part of the day"
    for special in data.special:
        yield from (f"special: {special.date}: {fault}" for fault in _special_faults(special))


def _regime_faults(regime: Regime, evening: time | None) -> Iterable[str]:
    close = regime.continuous.close
    yield from _out_of_order([*regime.pre_open, regime.continuous, *([regime.post_close] if regime.post_close else [])])
    if regime.closing_auction is not None:
        yield from _out_of_order(
            [TimeRange(regime.continuous.open, regime.closing_auction.continuous_close), *regime.closing_auction.phases]
        )
        close = min(close, regime.closing_auction.continuous_close)
    if regime.expiring_close is not None and not regime.continuous.open < regime.expiring_close <= close:
        yield "expiring_close is not within the session"
    if not regime.continuous.open < regime.square_off <= close:
        within = f"{regime.continuous.open:%H:%M} to {close:%H:%M}"
        yield f"square_off {regime.square_off:%H:%M} is not within the session, {within}"
    if evening is not None and not regime.continuous.open < evening < regime.continuous.close:
        yield "evening is not within the session"


def _special_faults(special: Special) -> Iterable[str]:
    yield from _out_of_order(special.sessions)
    yield from _out_of_order(special.pre_open)
    if not special.sessions:
        if special.pre_open or special.post_close is not None or special.square_off is not None:
            yield "pre_open, post_close and square_off need sessions; without sessions the usual hours apply"
        return
    if special.post_close is not None:
        yield from _out_of_order([special.sessions[-1], special.post_close])
    if special.square_off is not None and not (
        special.sessions[0].open < special.square_off <= special.sessions[-1].close
    ):
        yield "square_off is not within the sessions"


def _out_of_order(parts: Sequence[TimeRange | PhaseTimes]) -> Iterable[str]:
    for part in parts:
        if part.open >= part.close:
            yield f"{part.open:%H:%M} to {part.close:%H:%M} ends before it begins"
    for before, after in pairwise(parts):
        if after.open < before.close:
            yield f"{after.open:%H:%M} to {after.close:%H:%M} begins before {before.close:%H:%M}, the end before it"
