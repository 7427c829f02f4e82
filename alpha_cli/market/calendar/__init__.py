"""When the markets are open: sessions by exchange and date, from dated files."""

from alpha_cli.market.calendar.sessions import (
    CLOSE as CLOSE,
    OPEN as OPEN,
    AllHours as AllHours,
    Calendar as Calendar,
    OutOfCoverage as OutOfCoverage,
    Session as Session,
    SessionHours as SessionHours,
    TradingDay as TradingDay,
)
