"""The books of an account as the `portfolio` line that closes a session; called by `engine`."""

from __future__ import annotations

from datetime import datetime

from alpha_cli.events import Portfolio, Position
from alpha_cli.paper.ledger import Account, plain


def statement(account: Account, timestamp: datetime | None) -> Portfolio:
    """The books as a `portfolio` event, at the last prices they know."""
    return Portfolio(
        broker=account.broker,
        cash=plain(account.cash),
        equity=plain(account.equity),
        realised_pnl=plain(account.realised),
        unrealised_pnl=plain(account.unrealised),
        charges=plain(account.charges),
        timestamp=timestamp,
        positions=[
            Position(
                instrument_token=token,
                quantity=held.quantity,
                average_price=held.average_price,
                realised_pnl=plain(held.realised),
                unrealised_pnl=plain(held.unrealised),
                last_price=held.last_price,
                product=product,
            )
            for (token, product), held in sorted(account.positions.items())
        ],
    )
