"""Rows of the database of `--state` and the objects they hold; `store` reads and writes them.

Rupees are TEXT, exact to the last digit; the views of `schema` cast them to numbers. Times are RFC 3339
TEXT in Indian time, so that the text sorts by time. Only `entries` has ledger units, to be summed exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from alpha_cli.core.codec import encode
from alpha_cli.core.events import ContractNote, Fill, Order, Portfolio
from alpha_cli.core.ledger import Account, Booking, Holding
from alpha_cli.core.money import in_rupees, plain, units
from alpha_cli.core.order_states import STATES
from alpha_cli.core.times import in_india
from alpha_cli.core.wire import rupees
from alpha_cli.stages.paper.orders import PaperOrder, Spot

Row = dict[str, Any]

_ORDER_FIELDS = [field.name for field in msgspec.structs.fields(Order)]
_json = msgspec.json.Encoder(order="deterministic", decimal_format="string").encode


def account_row(account: Account, starting_cash: Decimal) -> Row:
    """Return the row of `account` itself, without its positions."""
    return {
        "broker": account.broker,
        "starting_cash": _text(starting_cash),
        "capital": _rupees(account.capital),
        "cash": _rupees(account.cash),
        "realised_pnl": _rupees(account.realised),
        "charges": _rupees(account.charged),
        "charges_by_name": _by_name(account.charges),
    }


def account_of(row: Row, positions: Iterable[Row]) -> Account:
    """Return the account of `row` and its `positions`. Raise ValueError, ArithmeticError or `MsgspecError` if wrong."""
    charges = msgspec.json.decode(row["charges_by_name"], type=dict[str, str])
    return Account(
        broker=row["broker"],
        capital=_units(row["capital"]),
        cash=_units(row["cash"]),
        realised=_units(row["realised_pnl"]),
        charges={name: _units(amount) for name, amount in charges.items()},
        positions={(held["instrument_token"], held["product"]): _holding_of(held) for held in positions},
    )


def _holding_of(row: Row) -> Holding:
    return Holding(
        instrument_token=row["instrument_token"],
        product=row["product"],
        quantity=row["quantity"],
        cost=_units(row["cost"]),
        realised=_units(row["realised_pnl"]),
        last_price=_units(row["last_price"]),
        day=row["day"],
        overnight=row["overnight"],
        delivered=row["delivered"],
    )


def position_row(broker: str, holding: Holding, instrument: str) -> Row:
    """Return the row of one position of `broker`'s account."""
    return {
        "broker": broker,
        "instrument_token": holding.instrument_token,
        "product": holding.product,
        "instrument": instrument,
        "quantity": holding.quantity,
        "average_price": _text(holding.average_price),
        "cost": _rupees(holding.cost),
        "realised_pnl": _rupees(holding.realised),
        "last_price": _rupees(holding.last_price),
        "day": holding.day,
        "overnight": holding.overnight,
        "delivered": holding.delivered,
    }


def order_row(paper_order: PaperOrder, instrument: str) -> Row:
    """Return the row of an order: the fields of its event, and its state."""
    order = paper_order.order
    row: Row = {name: getattr(order, name) for name in _ORDER_FIELDS}
    for name in ("price", "trigger_price", "reference_price"):
        row[name] = _text(row[name])
    return row | {
        "timestamp": _time(order.timestamp),
        "metadata": msgspec.json.encode(order.metadata, order="deterministic").decode(),
        "instrument": instrument,
        **_state_columns(paper_order),
    }


def _state_columns(paper_order: PaperOrder) -> Row:
    """Return the columns of an order that its event does not have."""
    return {
        "number": paper_order.number,
        "status": paper_order.status,
        "filled_quantity": paper_order.filled_quantity,
        "average_price": _text(paper_order.average_price),
        "code": paper_order.code,
        "message": paper_order.message,
        "arrived": _time(paper_order.arrived),
        "effective": _time(paper_order.effective),
        "changed": _time(paper_order.changed),
        "met": int(paper_order.at_exchange),
        "modifications": paper_order.modifications,
        "modify_lines": paper_order.modify_lines,
        "limit_price": None if paper_order.limit is None else _rupees(paper_order.limit),
        "waits_for": None if paper_order.trigger is None else _rupees(paper_order.trigger),
        "turnover": str(paper_order.turnover),
        "fills": paper_order.fills,
        "priority": paper_order.priority,
        "cancelled_from": _time(paper_order.cancelled_from),
        "cancel_reason": paper_order.cancel_reason,
        "made_by": paper_order.made_by,
    }


def order_of(row: Row) -> PaperOrder:
    """Return the open order of `row`, asleep. Raise ValueError, TypeError or `MsgspecError` if the row is wrong."""
    if row["status"] not in STATES:
        raise ValueError(f"status {row['status']!r} is none of an order's")
    fields = {name: row[name] for name in _ORDER_FIELDS} | {
        "type": "order",
        "metadata": msgspec.json.decode(row["metadata"]),
    }
    return PaperOrder(
        order=msgspec.convert(fields, Order, strict=False),
        arrived=datetime.fromisoformat(row["arrived"]),
        effective=datetime.fromisoformat(row["effective"]),
        changed=datetime.fromisoformat(row["changed"]),
        status=row["status"],
        filled_quantity=row["filled_quantity"],
        limit=None if row["limit_price"] is None else _units(row["limit_price"]),
        trigger=None if row["waits_for"] is None else _units(row["waits_for"]),
        turnover=int(row["turnover"]),
        fills=row["fills"],
        code=row["code"],
        message=row["message"],
        at_exchange=bool(row["met"]),
        modifications=row["modifications"],
        modify_lines=row["modify_lines"],
        number=row["number"],
        priority=row["priority"],
        cancelled_from=None if row["cancelled_from"] is None else datetime.fromisoformat(row["cancelled_from"]),
        cancel_reason=row["cancel_reason"],
        made_by=row["made_by"],
        asleep=True,
    )


def fill_row(fill: Fill, instrument: str) -> Row:
    """Return the row of a trade."""
    return {
        "fill_id": fill.fill_id,
        "order_id": fill.order_id,
        "broker": fill.broker,
        "strategy_id": fill.strategy_id,
        "instrument_token": fill.instrument_token,
        "instrument": instrument,
        "product": fill.product,
        "side": fill.side,
        "quantity": fill.quantity,
        "price": _text(fill.price),
        "charges": _text(fill.charges["total"]),
        "charges_by_name": _json(fill.charges).decode(),
        "timestamp": _time(fill.timestamp),
    }


def fill_of(row: Row) -> Fill:
    """Return the trade of `row`, as far as charges need it. Raise ValueError, TypeError or `MsgspecError`."""
    names = ("fill_id", "order_id", "broker", "strategy_id", "instrument_token", "product", "side", "quantity", "price")
    fields = {name: row[name] for name in (*names, "timestamp")} | {
        "type": "fill",
        "signal_id": row["order_id"],
        "charges": msgspec.json.decode(row["charges_by_name"]),
    }
    return msgspec.convert(fields, Fill, strict=False)


def entry_rows(number: int, broker: str, booking: Booking, cause: str, timestamp: datetime | None) -> Iterator[Row]:
    """Yield the rows of the postings of one booking."""
    token, product = booking.key or (None, None)
    for account, amount in booking.postings:
        yield {
            "booking": number,
            "broker": broker,
            "account": account,
            "amount": amount,
            "instrument_token": token,
            "product": product,
            "cause": cause,
            "timestamp": _time(timestamp),
        }


def note_row(note: ContractNote, adjusted: Mapping[str, int]) -> Row:
    """Return the row of a contract note."""
    return {
        "broker": note.broker,
        "date": note.date.isoformat(),
        "charges": _text(note.charges["total"]),
        "charges_by_name": _json(note.charges).decode(),
        "adjustment": _text(note.adjustment),
        "adjusted": _json(adjusted).decode(),
        "fills": note.fills,
        "timestamp": _time(note.timestamp),
    }


def spot_row(broker: str, spot: Spot) -> Row:
    """Return the row of a price that settles a position."""
    return {
        "broker": broker,
        "instrument_token": spot.instrument_token,
        "last_price": _text(rupees(spot.last_price)),
        "timestamp": _time(spot.timestamp),
    }


def spot_of(row: Row) -> Spot:
    """Return the price of `row`. Raise ValueError or ArithmeticError if the row is wrong."""
    price = Decimal(row["last_price"])
    return Spot(
        instrument_token=row["instrument_token"],
        timestamp=datetime.fromisoformat(row["timestamp"]),
        last_price=float(price),
    )


def portfolio_row(portfolio: Portfolio) -> Row:
    """Return the row of a closing `portfolio`, its positions as JSON."""
    on_the_wire = msgspec.json.decode(encode(portfolio), type=dict[str, msgspec.Raw])
    amounts = ("cash", "equity", "realised_pnl", "unrealised_pnl", "charges")
    return {
        "broker": portfolio.broker,
        "timestamp": _time(portfolio.timestamp),
        **{name: _text(getattr(portfolio, name)) for name in amounts},
        "positions": bytes(on_the_wire["positions"]).decode(),
    }


def _by_name(charges: Mapping[str, int]) -> str:
    return _json({name: in_rupees(amount) for name, amount in charges.items()}).decode()


def _units(text: str) -> int:
    return units(Decimal(text))


def _rupees(amount: int) -> str:
    return str(in_rupees(amount))


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(plain(value))


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else in_india(moment).isoformat()
