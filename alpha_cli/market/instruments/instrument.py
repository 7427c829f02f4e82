"""One instrument, as a row of Kite's dump has it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

Kind = Literal["equity", "future", "option", "index"]

_KINDS: dict[str, Kind] = {"FUT": "future", "CE": "option", "PE": "option"}


class Instrument(msgspec.Struct, frozen=True):
    """The instrument of a token. Immutable.

    name             of the underlying of a derivative, of the company of a share; may be empty
    segment          NSE, NFO-FUT, INDICES, …
    instrument_type  EQ, FUT, CE or PE
    lot_size         in units; order quantities are multiples of it
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
        """Return the instrument of any token without a master: NSE equity, lot 1, tick 0.05."""
        return cls(token, "NSE", str(token))

    @property
    def key(self) -> str:
        """The permanent identifier, as `NFO:NIFTY26AUG25000CE`; a token is reused after expiry."""
        return f"{self.exchange}:{self.tradingsymbol}"

    @property
    def kind(self) -> Kind:
        """The kind, by segment and type; an index itself is not traded."""
        return "index" if self.segment == "INDICES" else _KINDS.get(self.instrument_type, "equity")

    @property
    def underlying(self) -> str:
        """The underlying of a derivative, as NIFTY; the symbol itself of a share or an index."""
        return self.name if self.instrument_type in _KINDS else self.tradingsymbol
