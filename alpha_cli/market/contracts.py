"""Instruments on a day, as broker and exchange know them: the facts behind the rules, which are in `rules`.

Master, calendar and freeze quantities are joined here for the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from alpha_cli.core.money import units
from alpha_cli.core.times import IST, in_india

if TYPE_CHECKING:  # both are imported with the first question, so that a stage starts quickly
    from alpha_cli.market.calendar import OutOfCoverage, Session, SessionHours, TradingDay
    from alpha_cli.market.instruments import Instrument, Master

Kind = Literal["equity", "future", "option"]

#: Underlyings that are indices: the names under which the master lists their contracts -> the index itself.
INDICES: dict[str, str] = {
    "NIFTY": "NSE:NIFTY 50",
    "BANKNIFTY": "NSE:NIFTY BANK",
    "FINNIFTY": "NSE:NIFTY FIN SERVICE",
    "MIDCPNIFTY": "NSE:NIFTY MID SELECT",
    "NIFTYNXT50": "NSE:NIFTY NEXT 50",
    "SENSEX": "BSE:SENSEX",
    "BANKEX": "BSE:BANKEX",
    "SENSEX50": "BSE:SNSX50",
}


class Contract(Struct, frozen=True, eq=False):
    """One instrument on one day.

    listed     whether it is in the master, or there is none
    tick_size  in ledger units
    freeze     the largest order the exchange takes, in units of the instrument; None if none is known
    strike     in ledger units, of an option
    index      whether it is a derivative of an index
    auctioned  whether it is on the list of shares that close by auction
    day        its sessions; None if the market is closed all day
    unknown    why it is not known whether it is open
    expired    whether its last day has passed
    traded_as  the kind whose charges and price bands apply; without a master even an index trades as a share
    """

    instrument: Instrument
    on: date
    kind: Kind | Literal["index"]
    listed: bool
    tick_size: int
    lot_size: int
    freeze: int | None
    strike: int
    index: bool
    auctioned: bool
    day: TradingDay | None
    unknown: str | None
    hours: SessionHours
    expired: bool
    traded_as: Kind

    @property
    def auction(self) -> Session | None:
        """The time in which the closing auction matches; None without one."""
        phases = None if self.day is None else self.day.closing_auction
        from alpha_cli.market.calendar import Session

        return Session(phases[-1].open, phases[-1].close) if phases else None


class Contracts:
    """Contracts by token and day; of each token the contract of the last requested day is cached."""

    def __init__(self, master: Callable[[], Master | None] = lambda: None, *, all_hours: bool = False) -> None:
        self._open_master = master
        self._master: Master | None = None
        self._opened = False
        self._all_hours = all_hours
        self._contracts: dict[int, Contract] = {}
        self._hours: dict[tuple[str, bool], SessionHours] = {}

    @property
    def master(self) -> Master | None:
        """The instrument master, opened at the first use; None if there is none."""
        if not self._opened:
            self._opened = True
            self._master = self._open_master()
        return self._master

    def open(self) -> None:
        """Open the master now, so that a bad one is found before anything is read."""
        _ = self.master

    def name_of(self, token: int) -> str:
        """Return EXCHANGE:SYMBOL of the contract that `token` was last looked up as."""
        from alpha_cli.market.instruments import Instrument

        known = self._contracts.get(token)
        return Instrument.unlisted(token).key if known is None else known.instrument.key

    def at(self, token: int, moment: datetime) -> Contract:
        """Return the contract of `token` on the Indian day of `moment`."""
        on = moment.date() if moment.tzinfo is IST else in_india(moment).date()
        known = self._contracts.get(token)
        return known if known is not None and known.on == on else self.contract(token, on)

    def contract(self, token: int, on: date) -> Contract:
        """Return the contract of `token` on that day."""
        known = self._contracts.get(token)
        if known is None or known.on != on:
            known = self._contracts[token] = self._made(token, on)
        return known

    def known(self, token: int) -> Contract | None:
        """Return the contract that `token` was last looked up as, of any day; None if it never was."""
        return self._contracts.get(token)

    def last_day(self, instrument: Instrument) -> TradingDay | None:
        """Return the sessions of the day on which a derivative expires; None if they are not known."""
        if instrument.expiry is None or self._all_hours:
            return None
        from alpha_cli.market.calendar import Calendar, OutOfCoverage

        try:
            return Calendar.of(instrument.exchange).day(
                instrument.expiry, expiring=instrument.name in INDICES
            )  # fmt: skip
        except OutOfCoverage:
            return None

    def hours(self, token: int, on: date) -> SessionHours:
        """Return the continuous sessions of `token`; the same object for all that share them."""
        if self._all_hours:
            return self._hours_of("", closing_auction=False)
        exchange, auctioned = self._closes(token, on)
        return self._hours_of(exchange, closing_auction=auctioned)

    def session(self, token: int, on: date) -> Session | None:
        """Return the first opening and the last close of its continuous trading that day, or None without any.

        Raise `OutOfCoverage` for a day that the calendar does not know.
        """
        from alpha_cli.market.calendar import Calendar, Session

        exchange, auctioned = self._closes(token, on)
        day = Calendar.of(exchange).day(on, closing_auction=auctioned)
        return None if day is None else Session(day.continuous[0].open, day.continuous[-1].close)

    def hours_at(self, token: int, moment: datetime) -> SessionHours:
        """Return `hours` on the Indian day of `moment`."""
        if not self._by_day:
            return self.hours(token, date.min)
        try:
            return self.hours(token, moment.astimezone(IST).date())
        except OverflowError:  # at either end of what a date can be
            return self.hours(token, date.min)

    @property
    def _by_day(self) -> bool:
        """Whether the hours of a token depend on the day: without a master every token is NSE equity."""
        return not self._all_hours and self.master is not None

    def beyond(self) -> OutOfCoverage | None:
        """Return the error of the first requested day that no calendar covers; None if all were covered."""
        return next((why for hours in self._hours.values() if (why := hours.why()) is not None), None)

    def underlying(self, contract: Contract) -> int | None:
        """Return the token of the underlying that settles a derivative, if the master has it."""
        if self.master is None:
            return None
        name = contract.instrument.name
        exchange = "BSE" if contract.instrument.exchange == "BFO" else "NSE"
        found = self.master.by_key(INDICES.get(name, f"{exchange}:{name}"))
        return None if found is None else found.instrument_token

    def _made(self, token: int, on: date) -> Contract:
        from alpha_cli.market.instruments import Instrument
        from alpha_cli.market.instruments.freeze import freeze_quantity

        found = self._listed(token, on)
        instrument = found or Instrument.unlisted(token)
        index = instrument.name in INDICES and instrument.kind in {"future", "option"}
        auctioned = self._is_auctioned(instrument, on)
        day, unknown = self._sessions(instrument, on, auctioned=auctioned, index=index)
        return Contract(
            instrument=instrument,
            on=on,
            kind=instrument.kind,
            listed=self.master is None or found is not None,
            tick_size=max(units(instrument.tick_size), 1),
            lot_size=instrument.lot_size,
            freeze=freeze_quantity(instrument, on),
            strike=units(instrument.strike or instrument.tick_size * 0),
            index=index,
            auctioned=auctioned,
            day=day,
            unknown=unknown,
            hours=self._hours_of(instrument.exchange, closing_auction=auctioned),
            expired=instrument.expiry is not None and instrument.expiry < on,
            traded_as="equity" if instrument.kind == "index" else instrument.kind,
        )

    def _sessions(
        self, instrument: Instrument, on: date, *, auctioned: bool, index: bool
    ) -> tuple[TradingDay | None, str | None]:
        """Return the sessions of the day, None if it has none, and why they are not known if they are not."""
        if self._all_hours:
            return None, None
        from alpha_cli.market.calendar import Calendar, OutOfCoverage

        expiring = index and instrument.expiry == on
        try:
            return Calendar.of(instrument.exchange).day(on, closing_auction=auctioned, expiring=expiring), None
        except OutOfCoverage as error:
            return None, str(error)

    def _listed(self, token: int, on: date) -> Instrument | None:
        """Return the instrument of `token` on that day, or an earlier one: it may have expired. None if unknown."""
        master = self.master
        return None if master is None else master.by_token(token, on) or master.by_token(token)

    def _closes(self, token: int, on: date) -> tuple[str, bool]:
        """Return the exchange of `token` and whether it closes by auction: these decide its sessions."""
        found = self._listed(token, on)
        return ("NSE", False) if found is None else (found.exchange, self._is_auctioned(found, on))

    def _is_auctioned(self, instrument: Instrument, on: date) -> bool:
        """Return whether a share closes by auction: those with futures do."""
        return (
            self._master is not None
            and instrument.kind == "equity"
            and self._master.has_futures(instrument.tradingsymbol, on)
        )

    def _hours_of(self, exchange: str, *, closing_auction: bool) -> SessionHours:
        key = ("" if self._all_hours else exchange, closing_auction)
        if key not in self._hours:
            from alpha_cli.market.calendar import AllHours, SessionHours

            hours = AllHours() if self._all_hours else SessionHours(exchange, closing_auction=closing_auction)
            self._hours[key] = hours
        return self._hours[key]


def end_of(day: TradingDay) -> datetime:
    """Return when the last session of a day ends, the closing auction included."""
    return day.closing_auction[-1].close if day.closing_auction else day.continuous[-1].close
