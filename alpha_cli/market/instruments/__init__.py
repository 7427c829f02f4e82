"""The instrument master: what an instrument token stands for, and which token a symbol has.

Kite publishes a dump each trading morning. `alpha instruments load` keeps the dumps in SQLite; stages read
it through `open_master`. The key of an instrument is EXCHANGE:SYMBOL, for tokens are used again after expiry.
Without a master any token trades as NSE equity: `Instrument.unlisted`.
"""

from alpha_cli.market.instruments.instrument import Instrument
from alpha_cli.market.instruments.master import Master, open_master, resolve

__all__ = ["Instrument", "Master", "open_master", "resolve"]
