"""The settings of `alpha paper` and their defaults, checked before anything is read.

`paper.yaml` may change the defaults, see `file`; options of the command line come before both.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec

from alpha_cli.config.defaults import OPENING_CASH
from alpha_cli.core.errors import BadLine, UsageError
from alpha_cli.core.text import printable
from alpha_cli.core.wire import check_rupees

#: The broker whose orders are filled here; orders of any other are ignored.
BROKER = "paper"

CHARGES = ("estimate", "contract-note", "none")
#: How charges are taken: on each fill; on each fill and settled by the day's contract note; not at all.
ChargesMode = Literal["estimate", "contract-note", "none"]

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]{1,4})?")  # \d and Decimal would take any script's digits
_SLIPPAGE = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,2})?) ?(ticks?|bps)")
_MOST_LATENCY = 600_000  # ms


class Slippage(msgspec.Struct, frozen=True):
    """How much worse than the best price an order that takes liquidity is filled.

    depth  at the levels of the book one after the other; without a book, at the last price
    ticks  `amount` ticks of the instrument beyond the best price
    bps    `amount` basis points beyond the best price
    """

    kind: Literal["depth", "ticks", "bps"] = "depth"
    amount: Decimal = Decimal(0)


class Margins(msgspec.Struct, frozen=True):
    """Share of an order's value that is blocked for it, in basis points (10,000 is all of it).

    Of a short option it is a share of strike × quantity. Rough figures for a simulation: SPAN is not computed.
    """

    equity_cnc: int = 10_000
    equity_mis: int = 2_000  # five times leverage, the most that SEBI's peak margin rules leave
    index_future: int = 1_500
    stock_future: int = 2_500
    option_buy: int = 10_000
    index_option_sell: int = 1_500
    stock_option_sell: int = 2_500


class Bands(msgspec.Struct, frozen=True):
    """How far from the previous close a price may be, in basis points. Dynamic bands of the day are not known."""

    equity: int = 2_000
    future: int = 1_000


class PaperConfig(msgspec.Struct, frozen=True):
    """One account and the market it trades in.

    cash       rupees that a new account begins with, by --cash or paper.yaml; None if neither says
    opening_cash  the same by alpha.yaml, for all stages
    latency    from the time of an order, cancel or modify until it is at the exchange, in stream time
    all_hours  no sessions: trade on every tick, whatever its time
    """

    broker: str = BROKER
    cash: Decimal | None = None
    opening_cash: Decimal = OPENING_CASH[BROKER]
    slippage: Slippage = Slippage()
    latency: timedelta = timedelta()
    charges: ChargesMode = "estimate"
    margins: Margins = Margins()
    bands: Bands = Bands()
    all_hours: bool = False

    @property
    def starting_cash(self) -> Decimal:
        """Rupees that a new account begins with."""
        return self.opening_cash if self.cash is None else self.cash


def rupees(text: str, option: str = "--cash") -> Decimal:
    """Return `text` as rupees: not negative, at most four decimals. Raise `UsageError` for anything else."""
    digits = text.replace(",", "")
    try:
        if not _AMOUNT.fullmatch(digits):
            raise BadLine(text)
        amount = Decimal(digits)
        check_rupees(option, amount)
    except BadLine:
        raise UsageError(
            f"{option} {printable(text, 40)}: not an amount of rupees; write it as 500000 or 500000.50"
        ) from None
    return amount


def slippage(text: str) -> Slippage:
    """Return the model for `depth`, `2 ticks` or `5 bps`. Raise `UsageError` for anything else."""
    if text == "depth":
        return Slippage()
    match = _SLIPPAGE.fullmatch(text)
    if match is None:
        raise UsageError(f"slippage {printable(text, 40)!r}: write depth, or as in '2 ticks' or '5 bps'")
    kind: Any = "bps" if match[2] == "bps" else "ticks"
    return Slippage(kind=kind, amount=Decimal(match[1]))


def latency(milliseconds: int) -> timedelta:
    """Return milliseconds of stream time. Raise `UsageError` if negative or more than ten minutes."""
    if not 0 <= milliseconds <= _MOST_LATENCY:
        raise UsageError(f"latency {milliseconds}: give milliseconds from 0 to {_MOST_LATENCY}")
    return timedelta(milliseconds=milliseconds)
