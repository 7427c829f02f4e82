"""Instrument dumps as Kite publishes them, in a few rows."""

from __future__ import annotations

from pathlib import Path

HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange"
)
INDEX = "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE"
SHARE = "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE"
SHARE_BSE = "128053508,500209,INFY,INFOSYS,0,,0,0.05,1,EQ,BSE,BSE"
FUTURE = "14866434,58072,NIFTY26AUGFUT,NIFTY,0.0,2026-08-25,0.0,0.1,65,FUT,NFO-FUT,NFO"
CALL = "15845634,61897,NIFTY26AUG25000CE,NIFTY,0.0,2026-08-25,25000.0,0.05,65,CE,NFO-OPT,NFO"
ROWS = (INDEX, SHARE, SHARE_BSE, FUTURE, CALL)


def text_of(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def dump_file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "dump.csv"
    path.write_bytes(text_of(*rows, header=header))
    return path


def changed(row: str, **cells: str) -> str:
    """`row` with other cells."""
    names = HEADER.split(",")
    values = row.split(",")
    for name, value in cells.items():
        values[names.index(name)] = value
    return ",".join(values)
