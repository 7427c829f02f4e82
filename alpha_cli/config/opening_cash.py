"""The rupees that a broker's account begins with: one figure for paper, risk and strategies.

`opening_cash` in `alpha.yaml`, or ALPHA_OPENING_CASH. The settings and YAML are imported only where one of them says
something: a stage that needs nothing else of them starts without.
"""

from __future__ import annotations

import os
from decimal import Decimal

from alpha_cli.config.defaults import OPENING_CASH
from alpha_cli.config.environment import variable
from alpha_cli.config.files import find_config, says_nothing


def opening_cash(broker: str) -> Decimal:
    """Return the rupees of `broker`, 0 if nothing says. Raise `ConfigurationError`."""
    cash = OPENING_CASH
    if variable("opening_cash") in os.environ or not says_nothing(find_config("alpha.yaml")):
        from alpha_cli.config.settings import load_settings

        cash = load_settings().opening_cash
    return cash.get(broker, Decimal(0))
