"""What the user of `alpha paper` may set, checked before anything is read."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from alpha_cli.errors import BadLine, UsageError, printable
from alpha_cli.wire import check_rupees

#: The broker whose orders are filled here; orders of any other are left alone.
BROKER = "paper"

#: Rupees that an account begins with.
STARTING_CASH = Decimal(1_000_000)

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]{1,4})?")  # \d and Decimal would take any script's digits


class PaperConfig(msgspec.Struct, frozen=True):
    """One account: whose orders it takes, and the rupees it begins with; None if the user did not say."""

    broker: str = BROKER
    cash: Decimal | None = None

    @property
    def starting_cash(self) -> Decimal:
        """Rupees that a new account begins with."""
        return STARTING_CASH if self.cash is None else self.cash


def rupees(text: str) -> Decimal:
    """`text` as an amount a person has: not negative, at most four decimals. Raises `UsageError`."""
    digits = text.replace(",", "")
    try:
        if not _AMOUNT.fullmatch(digits):
            raise BadLine(text)
        amount = Decimal(digits)
        check_rupees("--cash", amount)
    except BadLine:
        raise UsageError(
            f"--cash {printable(text, 40)}: not an amount of rupees; write it as 500000 or 500000.50"
        ) from None
    return amount
