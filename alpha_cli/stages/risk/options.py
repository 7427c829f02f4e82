"""Command-line options that `alpha risk` and its tools share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alpha_cli.core.errors import ConfigurationError

if TYPE_CHECKING:
    from alpha_cli.market.instruments import Master
    from alpha_cli.stages.risk.config import RiskFile

config_option = click.option(
    "--config", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Limits, instead of the nearest risk.yaml.",
)  # fmt: skip
instruments_option = click.option(
    "--instruments", "master", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Instrument master, or Kite's dump (CSV, .gz); orders in instruments not in it are denied.  "
         "[env: ALPHA_INSTRUMENTS; default: the one that alpha instruments load made, if any]",
)  # fmt: skip


def check_names(limits: RiskFile, instruments: Master | None, where: Path | None) -> None:
    """Refuse limits for instruments that cannot be found, since they would have no effect.

    Raises `ConfigurationError`.
    """
    file = where or "risk.yaml"
    named = set(limits.instruments)
    for level in (limits.account, *limits.brokers.values(), *limits.strategies.values()):
        named.update(level.allowed_instruments or (), level.restricted_instruments or ())
    for name in sorted(named):
        if name.isdecimal() or name.endswith("*") or (name.startswith("NSE:") and name[4:].isdecimal()):
            continue
        if instruments is None:
            raise ConfigurationError(
                f"{file}: {name}: there is no instrument master to find it in; alpha instruments fetch makes one, "
                "or write its token"
            )
        if instruments.by_key(name) is None:
            near = instruments.near(name.partition(":")[2], name.partition(":")[0])
            raise ConfigurationError(
                f"{file}: {name}: not in the instrument master" + (f", did you mean {near[0]!r}?" if near else "")
            )
