"""Values that hold where neither a file nor the environment says anything."""

from __future__ import annotations

from decimal import Decimal

#: Broker -> the rupees that its account begins with.
OPENING_CASH = {"paper": Decimal(1_000_000)}
