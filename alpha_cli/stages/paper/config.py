"""What the user of `alpha paper` may set, checked before anything is read.

The defaults stand here, and `paper.yaml` may change them; it is looked for in `$ALPHA_CONFIG_DIR` and
`./configs`. Options of the command line come before both. pydantic and YAML are imported only where
there is such a file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from alpha_cli.core.errors import BadLine, UsageError
from alpha_cli.core.text import printable
from alpha_cli.core.wire import check_rupees

#: The broker whose orders are filled here; orders of any other are left alone.
BROKER = "paper"

#: Rupees that an account begins with.
STARTING_CASH = Decimal(1_000_000)

FILE = "paper.yaml"
CHARGES = ("estimate", "contract-note", "none")
#: How charges are taken: on each fill; on each fill and settled by the day's contract note; not at all.
ChargesMode = Literal["estimate", "contract-note", "none"]

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]{1,4})?")  # \d and Decimal would take any script's digits
_SLIPPAGE = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,2})?) ?(ticks?|bps)")
_MOST_LATENCY = 600_000  # ms


class Slippage(msgspec.Struct, frozen=True):
    """How much worse than the best price an order that takes liquidity fares.

    depth  it takes the levels of the book one after the other; without a book, the last price
    ticks  the best price and `amount` ticks of the instrument
    bps    the best price and `amount` basis points of it
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
    """How far from the previous close a price may lie, in basis points. Dynamic bands of the day are not known."""

    equity: int = 2_000
    future: int = 1_000


class PaperConfig(msgspec.Struct, frozen=True):
    """One account and the market it trades in.

    cash       rupees that a new account begins with; None if the user did not say
    latency    from the time of an order, cancel or modify until it is at the exchange, in stream time
    all_hours  no sessions: trade on every tick, whatever its time
    """

    broker: str = BROKER
    cash: Decimal | None = None
    slippage: Slippage = Slippage()
    latency: timedelta = timedelta()
    charges: ChargesMode = "estimate"
    margins: Margins = Margins()
    bands: Bands = Bands()
    all_hours: bool = False

    @property
    def starting_cash(self) -> Decimal:
        """Rupees that a new account begins with."""
        return STARTING_CASH if self.cash is None else self.cash


def configured(path: Path | None = None) -> PaperConfig:
    """The configuration of `path`, or of the nearest `paper.yaml`, or the defaults. Raises `ConfigurationError`."""
    if path is None:
        from alpha_cli.config.files import find_own_config

        path = find_own_config(FILE)
        if path is None:
            return PaperConfig()
    from alpha_cli.stages.paper.file import read

    return read(path)


def rupees(text: str, option: str = "--cash") -> Decimal:
    """`text` as an amount a person has: not negative, at most four decimals. Raises `UsageError`."""
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
    """`depth`, `2 ticks` or `5 bps`. Raises `UsageError`."""
    if text == "depth":
        return Slippage()
    match = _SLIPPAGE.fullmatch(text)
    if match is None:
        raise UsageError(f"slippage {printable(text, 40)!r}: write depth, or as in '2 ticks' or '5 bps'")
    kind: Any = "bps" if match[2] == "bps" else "ticks"
    return Slippage(kind, Decimal(match[1]))


def latency(milliseconds: int) -> timedelta:
    """Milliseconds of stream time. Raises `UsageError` for a negative one or more than ten minutes."""
    if not 0 <= milliseconds <= _MOST_LATENCY:
        raise UsageError(f"latency {milliseconds}: give milliseconds from 0 to {_MOST_LATENCY}")
    return timedelta(milliseconds=milliseconds)
