"""The events that report the account: a fill, a contract note, the portfolio. Amounts become rupees here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from alpha_cli.core.events import ContractNote, Fill, Portfolio, Position
from alpha_cli.core.ids import derive_id
from alpha_cli.core.ledger import Account
from alpha_cli.core.money import in_rupees
from alpha_cli.stages.paper.orders import PaperOrder


def fill_event(working: PaperOrder, quantity: int, price: int, charges: Mapping[str, int], at: datetime) -> Fill:
    """Return the next fill of `working`: `quantity` units at `price`, in ledger units as its `charges`."""
    order = working.order
    fill_id = derive_id("fill", order.order_id, working.fills + 1)
    rupees = dict(zip(charges, map(in_rupees, charges.values()), strict=True))
    rupees["total"] = in_rupees(sum(charges.values()))
    return Fill(
        fill_id=fill_id,
        order_id=order.order_id,
        signal_id=order.signal_id,
        strategy_id=order.strategy_id,
        broker=order.broker,
        instrument_token=order.instrument_token,
        side=order.side,
        quantity=quantity,
        price=in_rupees(price),
        charges=rupees,
        timestamp=at,
        product=order.product,
        confidence=order.confidence,
        metadata=order.metadata,
    )


def note_event(
    broker: str,
    day: date,
    *,
    charges: Mapping[str, int],
    adjusted: Mapping[str, int],
    fills: int,
    timestamp: datetime | None,
) -> ContractNote:
    """Return the contract note of `day` over so many `fills`.

    charges   of the whole day by name, in ledger units
    adjusted  by how much they differ from what the fills and earlier notes took
    """
    rupees = {name: in_rupees(amount) for name, amount in sorted(charges.items())}
    return ContractNote(
        broker=broker,
        date=day,
        charges=rupees | {"total": in_rupees(sum(charges.values()))},
        adjustment=in_rupees(sum(adjusted.values())),
        fills=fills,
        timestamp=timestamp,
    )


def portfolio_event(account: Account, timestamp: datetime | None) -> Portfolio:
    """Return the books as a `portfolio` event, at the last prices they know."""
    return Portfolio(
        broker=account.broker,
        cash=in_rupees(account.cash),
        equity=in_rupees(account.equity),
        realised_pnl=in_rupees(account.realised),
        unrealised_pnl=in_rupees(account.unrealised),
        charges=in_rupees(account.charged),
        timestamp=timestamp,
        positions=[
            Position(
                instrument_token=token,
                quantity=held.quantity,
                average_price=held.average_price,
                realised_pnl=in_rupees(held.realised),
                unrealised_pnl=in_rupees(held.unrealised),
                last_price=in_rupees(held.last_price),
                product=product,
            )
            for (token, product), held in sorted(account.positions.items())
        ],
    )
