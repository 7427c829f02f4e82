"""The instrument master: which instrument a token identifies, and which token a symbol has.

Kite publishes a dump each trading morning. `alpha instruments load` keeps the dumps in SQLite; stages read
it through `open_master`. The key of an instrument is EXCHANGE:SYMBOL, because tokens are reused after expiry.
Without a master every token trades as NSE equity: `Instrument.unlisted`.
"""

from alpha_cli.market.instruments.instrument import Instrument
from alpha_cli.market.instruments.master import Master, open_master, resolve

__all__ = ["Instrument", "Master", "open_master", "resolve"]
