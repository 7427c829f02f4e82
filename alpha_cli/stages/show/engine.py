"""The step of `show`: an event to a readable line.

The type comes first, then the time in India, then the important fields in aligned columns. Control characters
in the data are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from alpha_cli.core.events import TYPES, Event, Unknown
from alpha_cli.core.text import printable
from alpha_cli.core.times import IST
from alpha_cli.core.wire import MAX_DECIMALS

GREEN, RED, YELLOW, BLUE, MAGENTA, CYAN, DIM, BOLD = 32, 31, 33, 34, 35, 36, 2, 1

_COLOURS = {
    "hello": DIM, "eof": DIM, "tick": DIM, "bar": DIM, "signal": CYAN, "order": BLUE, "denial": YELLOW, "fill": GREEN,
    "order_update": BLUE, "portfolio": BOLD, "gap": RED, "control": MAGENTA, "cancel": MAGENTA, "modify": MAGENTA,
    "contract_note": GREEN,
}  # fmt: skip
_MOST_DIGITS = 24  # before the point


class Show:
    """Formats events. `colour` switches ANSI colours on, `types` limits the types (None for all)."""

    def __init__(self, *, colour: bool, types: frozenset[str] | None = None) -> None:
        self._colour = colour
        self._types = types
        self.shown = 0

    def on_event(self, event: Event | Unknown) -> Iterable[Any]:
        """Return the line for `event`, as an `Unknown`, whose raw text the loop writes unchanged."""
        name = event.type if isinstance(event, Unknown) else _name(event)
        if self._types is not None and name not in self._types:
            return ()
        self.shown += 1
        columns = _COLUMNS.get(name, _unknown)(event)
        text = self._paint(f"{printable(name, 13):<13}", _COLOURS.get(name, 0)) + " " + columns
        return (Unknown("text", text.rstrip().encode()),)

    def _paint(self, text: str, code: int) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour and code else text


def _name(event: Event) -> str:
    return str(event.__struct_config__.tag)


def _row(time: datetime | None, *cells: str) -> str:
    try:
        moment = "" if time is None else time.astimezone(IST).isoformat(" ", "milliseconds")[:23]
    except OverflowError:  # at either end of the range of dates
        moment = str(time)[:23]
    return f"{moment:<23}  " + "  ".join(cells)


def _text(value: object, width: int = 0) -> str:
    return f"{'' if value is None else printable(str(value), 60):<{width}}"


def _money(value: Decimal | float | None, width: int = 12) -> str:
    """Return rupees with at least two decimals; blank for None."""
    if value is None:
        return " " * width
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_DECIMALS or exact.adjusted() > _MOST_DIGITS:
        return f"{_text(exact):>{width}}"  # not a valid amount: shown as it is
    return f"{f'{exact:,.{max(2, -exponent)}f}':>{width}}"


def _tick(e: Any) -> str:
    return _row(
        e.timestamp, f"{e.instrument_token:<10}", _money(e.last_price), f"vol {e.volume_traded:<13,}", _text(e.symbol)
    )


def _bar(e: Any) -> str:
    prices = "  ".join(f"{key} {_money(getattr(e, key), 10)}" for key in ("open", "high", "low", "close"))
    return _row(e.start, f"{e.instrument_token:<10}", _text(e.interval, 4), prices, f"vol {e.volume:,}")


def _signal(e: Any) -> str:
    return _row(
        e.timestamp, f"{e.instrument_token:<10}", f"{e.signal_type:<4}", f"{_text(e.quantity):>7}", _money(e.price),
        _text(e.broker, 8), _text(e.strategy_id, 14), _text(e.reasoning),
    )  # fmt: skip


def _order(e: Any) -> str:
    return _row(
        e.timestamp, f"{e.instrument_token:<10}", f"{e.side:<4}", f"{e.quantity:>7}",
        _money(e.price or e.reference_price), _text(e.broker, 8), _text(e.strategy_id, 14),
        f"{e.order_type + ' ' + e.product:<11}", _text(e.order_id),
    )  # fmt: skip


def _fill(e: Any) -> str:
    return _row(
        e.timestamp, f"{e.instrument_token:<10}", f"{e.side:<4}", f"{e.quantity:>7}", _money(e.price),
        _text(e.broker, 8), _text(e.strategy_id, 14), f"charges {_money(e.charges.get('total'), 0)}",
    )  # fmt: skip


def _denial(e: Any) -> str:
    observed = "" if e.observed is None else f"(observed {_text(e.observed)}, limit {_text(e.limit)})"
    return _row(e.timestamp, _text(e.code, 24), _text(e.strategy_id, 14), _text(e.message), observed)


def _order_update(e: Any) -> str:
    filled = f"{e.filled_quantity}/{e.filled_quantity + e.pending_quantity}"
    return _row(
        e.timestamp, _text(e.status, 10), f"{filled:>11}", _money(e.average_price), _text(e.broker, 8), _text(e.message)
    )


def _contract_note(e: Any) -> str:
    return _row(
        e.timestamp, _text(e.broker, 10), f"of {e.date}", f"{e.fills} fills",
        f"charges {_money(e.charges.get('total'), 0)}", f"adjusts {_money(e.adjustment, 0)}",
    )  # fmt: skip


def _portfolio(e: Any) -> str:
    lines = [
        _row(
            e.timestamp, _text(e.broker, 10), f"cash {_money(e.cash, 0)}", f"equity {_money(e.equity, 0)}",
            f"realised {_money(e.realised_pnl, 0)}", f"unrealised {_money(e.unrealised_pnl, 0)}",
            f"charges {_money(e.charges, 0)}",
        )
    ]  # fmt: skip
    if e.positions:
        lines.append(
            f"{'':14}{'instrument':<12}{'product':<9}{'quantity':>9}{'average':>14}{'last':>14}{'realised':>14}{'unrealised':>14}"
        )
    lines += [
        f"{'':14}{p.instrument_token:<12}{p.product:<9}{p.quantity:>9}{_money(p.average_price, 14)}"
        f"{_money(p.last_price, 14)}{_money(p.realised_pnl, 14)}{_money(p.unrealised_pnl, 14)}"
        for p in e.positions
    ]
    return "\n".join(lines)


def _hello(e: Any) -> str:
    return _row(None, f"wire {e.wire}", _text(e.source), f"alpha {_text(e.version)}")


def _eof(e: Any) -> str:
    return _row(
        None, "ok" if e.ok else f"code {e.code}", f"{e.count} events" if e.count is not None else "", _text(e.reason)
    )


def _other(e: Any) -> str:
    """Return the fields by name, for types without columns of their own."""
    shown = {name: getattr(e, name) for name in e.__struct_fields__ if name != "timestamp"}
    cells = [f"{name.rstrip('_')} {_text(value)}" for name, value in shown.items() if value is not None]
    return _row(getattr(e, "timestamp", None), *cells)


def _unknown(e: Any) -> str:
    return _row(None, printable(e.raw.decode("utf-8", "replace"), 100)) if isinstance(e, Unknown) else _other(e)


_COLUMNS: dict[str, Callable[[Any], str]] = {
    "hello": _hello, "tick": _tick, "bar": _bar, "signal": _signal, "order": _order, "denial": _denial,
    "order_update": _order_update, "fill": _fill, "contract_note": _contract_note,
    "portfolio": _portfolio, "eof": _eof,
}  # fmt: skip

#: Every type is shown.
SHOWN: tuple[type, ...] = (*TYPES.values(), Unknown)
