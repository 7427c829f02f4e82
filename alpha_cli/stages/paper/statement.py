"""The books of an account as the `portfolio` line that closes a session; called by `engine`."""

from __future__ import annotations

from datetime import datetime

from alpha_cli.core.events import Portfolio, Position
from alpha_cli.core.ledger import Account
from alpha_cli.core.money import in_rupees


def statement(account: Account, timestamp: datetime | None) -> Portfolio:
    """The books as a `portfolio` event, at the last prices they know."""
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
