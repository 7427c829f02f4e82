"""What broker and exchange know of an instrument on a day: the facts that the rules need, and no rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from alpha_cli.calendar import AllHours, Calendar, OutOfCoverage, Session, SessionHours, TradingDay
from alpha_cli.events import IST
from alpha_cli.instruments import Instrument
from alpha_cli.instruments.freeze import freeze_quantity
from alpha_cli.paper.ledger import units

if TYPE_CHECKING:
    from alpha_cli.instruments import Master

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
    unknown    why nobody knows whether it is open
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

    @property
    def traded_as(self) -> Kind:
        """What it is charged and protected as. Without a master even an index trades as a share."""
        return "equity" if self.kind == "index" else self.kind

    @property
    def auction(self) -> Session | None:
        """When the closing auction matches; None without one."""
        phases = None if self.day is None else self.day.closing_auction
        return Session(phases[-1].open, phases[-1].close) if phases else None

    @property
    def expired(self) -> bool:
        """Whether its last day has passed."""
        return self.instrument.expiry is not None and self.instrument.expiry < self.on


class Venue:
    """Contracts by token and day; one of each is kept, that of the day asked about last."""

    def __init__(self, master: Callable[[], Master | None] = lambda: None, *, all_hours: bool = False) -> None:
        self._open_master = master
        self._master: Master | None = None
        self._opened = False
        self._all_hours = all_hours
        self._contracts: dict[int, Contract] = {}
        self._hours: dict[tuple[str, bool], SessionHours] = {}

    @property
    def master(self) -> Master | None:
        """The instrument master, opened when it is first asked for; None if there is none."""
        if not self._opened:
            self._opened = True
            self._master = self._open_master()
        return self._master

    def open(self) -> None:
        """Open the master now, so that a bad one is found before anything is read."""
        _ = self.master

    def name_of(self, token: int) -> str:
        """EXCHANGE:SYMBOL of what `token` was last asked about as."""
        known = self._contracts.get(token)
        return Instrument.unlisted(token).key if known is None else known.instrument.key

    def contract(self, token: int, on: date) -> Contract:
        """What `token` stands for on that day."""
        known = self._contracts.get(token)
        if known is None or known.on != on:
            known = self._contracts[token] = self._made(token, on)
        return known

    def known(self, token: int) -> Contract | None:
        """What `token` was last asked about as, of whatever day."""
        return self._contracts.get(token)

    def last_day(self, instrument: Instrument) -> TradingDay | None:
        """The sessions of the day on which a derivative expires; None if they are not known."""
        if instrument.expiry is None or self._all_hours:
            return None
        try:
            return Calendar.of(instrument.exchange).day(
                instrument.expiry, expiring=instrument.name in INDICES
            )  # fmt: skip
        except OutOfCoverage:
            return None

    def underlying(self, contract: Contract) -> int | None:
        """The token of what a derivative is settled by, if the master has it."""
        if self.master is None:
            return None
        name = contract.instrument.name
        exchange = "BSE" if contract.instrument.exchange == "BFO" else "NSE"
        found = self.master.by_key(INDICES.get(name, f"{exchange}:{name}"))
        return None if found is None else found.instrument_token

    def _made(self, token: int, on: date) -> Contract:
        # What is not alive on the day may have expired before: that is another answer than "unknown".
        master = self.master
        found = None if master is None else master.by_token(token, on) or master.by_token(token)
        instrument = found or Instrument.unlisted(token)
        index = instrument.name in INDICES and instrument.kind in {"future", "option"}
        auctioned = (
            master is not None and instrument.kind == "equity" and master.has_futures(instrument.tradingsymbol, on)
        )  # fmt: skip
        day, unknown = None, None
        if not self._all_hours:
            try:
                day = Calendar.of(instrument.exchange).day(
                    on, closing_auction=auctioned, expiring=index and instrument.expiry == on
                )
            except OutOfCoverage as error:
                unknown = str(error)
        return Contract(
            instrument=instrument,
            on=on,
            kind=instrument.kind,
            listed=master is None or found is not None,
            tick_size=max(units(instrument.tick_size), 1),
            lot_size=instrument.lot_size,
            freeze=freeze_quantity(instrument, on),
            strike=units(instrument.strike or instrument.tick_size * 0),
            index=index,
            auctioned=auctioned,
            day=day,
            unknown=unknown,
            hours=self._hours_of(instrument.exchange, closing_auction=auctioned),
        )

    def _hours_of(self, exchange: str, *, closing_auction: bool) -> SessionHours:
        if self._all_hours:
            return _ALL_HOURS
        key = (exchange, closing_auction)
        if key not in self._hours:
            self._hours[key] = SessionHours(exchange, closing_auction=closing_auction)
        return self._hours[key]


_ALL_HOURS = AllHours()


def at_midnight(day: date) -> datetime:
    """When the Indian day after `day` begins; the last day of the calendar has no end."""
    if day == date.max:
        return datetime.max.replace(tzinfo=IST)
    return datetime.combine(day + timedelta(days=1), time(), IST)


def end_of(day: TradingDay) -> datetime:
    """When the last session of a day ends, the closing auction included."""
    return day.closing_auction[-1].close if day.closing_auction else day.continuous[-1].close
