"""The instrument master: what an instrument token stands for.

Read from Kite's dump (CSV, plain or gzip). Without one, any token trades as NSE equity.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

from alpha_cli.errors import BadData, NoInput


class Instrument(NamedTuple):
    """One row of the master; `lot_size` in units, `tick_size` in rupees."""

    instrument_token: int
    exchange: str
    tradingsymbol: str
    lot_size: int = 1
    tick_size: str = "0.05"


def read_instruments(path: Path) -> dict[int, Instrument]:
    """token -> instrument, from Kite's dump. Raises `NoInput` or `BadData`."""
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            master = {
                int(row["instrument_token"]): Instrument(
                    int(row["instrument_token"]),
                    row.get("exchange") or "",
                    row.get("tradingsymbol") or "",
                    int(float(row.get("lot_size") or 1)),
                    row.get("tick_size") or "0.05",
                )
                for row in csv.DictReader(file)
            }
    except FileNotFoundError:
        raise NoInput(f"instrument master {path} does not exist; Kite gives it at api.kite.trade/instruments") from None
    except (
        KeyError, ValueError, TypeError, ArithmeticError, csv.Error, EOFError, zlib.error, gzip.BadGzipFile
    ) as error:  # fmt: skip
        raise BadData(f"instrument master {path} is not Kite's CSV: {type(error).__name__} {error}") from None
    except OSError as error:
        raise NoInput(f"instrument master {path}: {error.strerror or error}") from None
    if not master:
        raise BadData(f"instrument master {path} has no instruments")
    return master
