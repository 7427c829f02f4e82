"""Defaults that a stage needs without reading what may change them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

#: Rupees in a broker's account before any fill, where nothing else is said.
OPENING_CASH: Mapping[str, Decimal] = MappingProxyType({"paper": Decimal(1_000_000)})
