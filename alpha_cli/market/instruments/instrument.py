"""One instrument, as a row of Kite's dump has it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

Kind = Literal["equity", "future", "option", "index"]

_KINDS: dict[str, Kind] = {"FUT": "future", "CE": "option", "PE": "option"}


class Instrument(msgspec.Struct, frozen=True):
    """What a token stands for. Immutable.

    name             of the underlying for a derivative, of the company for a share; may be empty
    segment          NSE, NFO-FUT, INDICES, …
    instrument_type  EQ, FUT, CE or PE
    lot_size         in units; orders are for multiples of it
    tick_size        in rupees; prices are multiples of it
    expiry, strike   of a derivative, else None; the strike in rupees
    """

    instrument_token: int
    exchange: str
    tradingsymbol: str
    name: str = ""
    segment: str = "NSE"
    instrument_type: str = "EQ"
    lot_size: int = 1
    tick_size: Decimal = Decimal("0.05")
    expiry: date | None = None
    strike: Decimal | None = None
    exchange_token: str = ""

    @classmethod
    def unlisted(cls, token: int) -> Instrument:
        """What any token is where there is no master: NSE equity, lot 1, tick 0.05."""
        return cls(token, "NSE", str(token))

    @property
    def key(self) -> str:
        """`NFO:NIFTY26AUG25000CE`: what identifies it for good, which its token does not."""
        return f"{self.exchange}:{self.tradingsymbol}"

    @property
    def kind(self) -> Kind:
        """By segment and type; an index is not traded itself."""
        return "index" if self.segment == "INDICES" else _KINDS.get(self.instrument_type, "equity")

    @property
    def underlying(self) -> str:
        """NIFTY for a contract on it; a share or an index is its own."""
        return self.name if self.instrument_type in _KINDS else self.tradingsymbol
