"""`paper.yaml` as people write it: its model, and the configuration that it stands for."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field

from alpha_cli.config.model import Strict, read_config
from alpha_cli.core.errors import UsageError
from alpha_cli.stages.paper.config import Bands, ChargesMode, Margins, PaperConfig, slippage

#: Percent in the file; basis points inside.
Percent = Annotated[Decimal, Field(gt=0, le=1000, decimal_places=2)]


def _slippage(text: str) -> str:
    try:
        slippage(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


class MarginsFile(Strict):
    """Percent of an order's value that it blocks; of a short option, of strike × quantity."""

    equity_cnc: Percent | None = None
    equity_mis: Percent | None = None
    index_future: Percent | None = None
    stock_future: Percent | None = None
    option_buy: Percent | None = None
    index_option_sell: Percent | None = None
    stock_option_sell: Percent | None = None


class BandsFile(Strict):
    """Percent of the previous close within which a price must lie."""

    equity: Percent | None = None
    future: Percent | None = None


class PaperFile(Strict):
    """The whole file; what is left out keeps its default."""

    cash: Annotated[Decimal, Field(ge=0, lt=10**12, decimal_places=4)] | None = None
    slippage: Annotated[str, AfterValidator(_slippage)] = "depth"
    latency_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    charges: ChargesMode = "estimate"
    margins: MarginsFile = MarginsFile()
    bands: BandsFile = BandsFile()


def read(path: Path) -> PaperConfig:
    """Return the configuration in the file at `path`. Raise `ConfigurationError` if it is wrong."""
    file = read_config(path, PaperFile)
    return PaperConfig(
        cash=file.cash,
        slippage=slippage(file.slippage),
        latency=timedelta(milliseconds=file.latency_ms),
        charges=file.charges,
        margins=msgspec.structs.replace(Margins(), **_basis_points(file.margins)),
        bands=msgspec.structs.replace(Bands(), **_basis_points(file.bands)),
    )


def _basis_points(percents: Strict) -> dict[str, Any]:
    return {name: int(value * 100) for name, value in percents.model_dump(exclude_none=True).items()}
