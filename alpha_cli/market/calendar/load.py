"""Read and check the data files of the calendar, and apply what the user corrected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, time
from itertools import pairwise

from alpha_cli.config.files import find_config, find_own_config, read_dated
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.market.calendar.data import EXCHANGES, OWN_FILE, Dated, ExchangeData, Hours, PhaseHours, Regime, Special


def load(exchange: str) -> ExchangeData:
    """The data of one of `EXCHANGES`, with the holidays that it shares and what the user changed.

    Raises `ConfigurationError` for a file that is missing, or wrong.
    """
    data = _read(exchange)
    if data.holidays_of is None:
        return _changed(data)
    shared = _changed(_read(data.holidays_of))
    if shared.holidays_of is not None:
        raise ConfigurationError(f"calendar of {exchange}: holidays_of: {shared.exchange} has those of another itself")
    data.holidays += _besides(data.holidays, shared.holidays)
    data.unknown += _besides(data.unknown, shared.unknown)
    data.valid_from = max(data.valid_from, shared.valid_from)
    data = _changed(data)
    data.valid_through = min(data.valid_through, shared.valid_through)  # from then on its holidays are not known
    return data


def _besides(own: Iterable[Dated], shared: Iterable[Dated]) -> tuple[Dated, ...]:
    """Those of `shared` on other dates than `own` has."""
    dates = {one.date for one in own}
    return tuple(one for one in shared if one.date not in dates)


def _changed(data: ExchangeData) -> ExchangeData:
    """With what the user's own file says of it."""
    own = find_own_config(OWN_FILE)
    if own is None:
        return data
    from alpha_cli.market.calendar.overrides import changed  # pydantic and YAML, which most have no need of

    data = changed(data, own)
    _check(data, str(own))
    return data


def _read(exchange: str) -> ExchangeData:
    path = find_config(f"calendar/{exchange}.json")
    data = read_dated(path, ExchangeData)
    if data.exchange != exchange:
        raise ConfigurationError(f"{path}: exchange: this is of {printable(data.exchange)}, not of {exchange}")
    _check(data, str(path))
    return data


def _check(data: ExchangeData, where: str) -> None:
    """Raise `ConfigurationError` for what cannot be: sessions that overlap, regimes out of order, a date twice."""
    for fault in _faults(data):
        raise ConfigurationError(f"{where}: {data.exchange}: {fault}")


def _faults(data: ExchangeData) -> Iterable[str]:
    if data.valid_through < data.valid_from:
        yield f"valid_through {data.valid_through} is before valid_from {data.valid_from}"
    if data.holidays_of is not None and (data.holidays_of not in EXCHANGES or data.holidays_of == data.exchange):
        yield f"holidays_of: {data.holidays_of[:40]!r} is not another exchange"
    starts = [regime.since for regime in data.regimes]
    if not starts or starts[0] > data.valid_from or starts != sorted(set(starts)):
        yield "regimes: the first must begin by valid_from, and each later than the one before"
    for regime in data.regimes:
        yield from (f"regimes: from {regime.since}: {fault}" for fault in _regime_faults(regime, data.evening))
    for name, dated in (("holidays", data.holidays), ("special", data.special), ("unknown", data.unknown)):
        dates: set[date] = set()
        for one in dated:
            if one.date in dates:
                yield f"{name}: {one.date} is there twice"
            dates.add(one.date)
    if data.evening is None and any(holiday.closed != "all" for holiday in data.holidays):
        yield "holidays: only an exchange with an evening session can close a part of the day"
    for special in data.special:
        yield from (f"special: {special.date}: {fault}" for fault in _special_faults(special))


def _regime_faults(regime: Regime, evening: time | None) -> Iterable[str]:
    close = regime.continuous.close
    yield from _out_of_order([*regime.pre_open, regime.continuous, *([regime.post_close] if regime.post_close else [])])
    if regime.closing_auction is not None:
        yield from _out_of_order(
            [Hours(regime.continuous.open, regime.closing_auction.continuous_close), *regime.closing_auction.phases]
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
            yield "without sessions it has the usual hours, and no others"
        return
    if special.post_close is not None:
        yield from _out_of_order([special.sessions[-1], special.post_close])
    if special.square_off is not None and not (
        special.sessions[0].open < special.square_off <= special.sessions[-1].close
    ):
        yield "square_off is not within the sessions"


def _out_of_order(parts: Sequence[Hours | PhaseHours]) -> Iterable[str]:
    for part in parts:
        if part.open >= part.close:
            yield f"{part.open:%H:%M} to {part.close:%H:%M} ends before it begins"
    for before, after in pairwise(parts):
        if after.open < before.close:
            yield f"{after.open:%H:%M} to {after.close:%H:%M} begins before {before.close:%H:%M}, when the last ends"
