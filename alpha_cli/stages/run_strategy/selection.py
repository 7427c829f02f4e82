"""Which strategies to run: by name, by file, all, or those of a database. A reload reads it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from alpha_cli.config.files import config_names
from alpha_cli.config.settings import Settings, load_settings
from alpha_cli.core.errors import ConfigurationError, Unavailable, UsageError
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_by_name, load_file, unique

Report = Callable[[str], None]


class Wanted(NamedTuple):
    """A strategy to run: its configuration, its active brokers, and its place in the order."""

    config: StrategyConfig
    brokers: tuple[str, ...]
    place: int


class Selection(NamedTuple):
    """The strategies that the command line names.

    names     looked up in the database if there is one, then among the YAML files
    files     YAML files
    every     all that are configured
    database  URL of the table `strategy_configurations`
    fallback  use the YAML files if the database cannot be reached
    """

    names: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    every: bool = False
    database: str | None = None
    fallback: bool = False

    def wanted(self, report: Report, settings: Settings | None = None) -> list[Wanted]:
        """Return the active ones in order, each with those of its brokers that `settings` has. Raise `AlphaError`."""
        brokers = (settings or load_settings()).active_brokers
        wanted = []
        for place, config in enumerate(unique(self._configs(report))):
            if not config.is_active:
                report(f"{config.id} is not active (is_active: false in its configuration)")
                continue
            active = tuple(broker for broker in config.active_brokers if broker in brokers)
            idle = [broker for broker in config.active_brokers if broker not in brokers]
            if active and idle:
                report(_idle(config.id, idle, active, brokers))
            if not active:
                report(
                    f"{config.id} has no active broker: its signals go nowhere "
                    f"(active_brokers in alpha.yaml: {', '.join(brokers)})"
                )
            wanted.append(Wanted(config, active, place))
        return wanted

    def _configs(self, report: Report) -> list[StrategyConfig]:
        rows = self._rows(report)
        if self.every or (rows and not self.names and not self.files):
            named = list(rows.values()) if rows else [load_by_name(name) for name in config_names("strategies")]
        elif rows is not None and not self.names and not self.files:
            raise ConfigurationError(
                "the table strategy_configurations is empty; alpha strategies db import fills it, or name a strategy"
            )
        else:
            named = [(rows or {}).get(name) or load_by_name(name) for name in self.names]
        return [*named, *map(load_file, self.files)]

    def _rows(self, report: Report) -> dict[str, StrategyConfig] | None:
        """Return the rows of the table by id; None without a database."""
        if self.database is None:
            return None
        from alpha_cli.stages.run_strategy.config_table import open_table

        try:
            table = open_table(self.database)
            try:
                return {config.id: config for config in table.read_all()}
            finally:
                table.close()
        except Unavailable as error:
            if not self.fallback:
                raise Unavailable(f"{error} (--fallback-yaml would use the YAML files)") from None
            if not (self.names or self.files or self.every):
                raise UsageError(f"{error}; and no strategy is named that could come from a YAML file") from None
            report(f"{error}; using the YAML files")
            return None


def _idle(strategy_id: str, idle: Sequence[str], active: Sequence[str], brokers: Sequence[str]) -> str:
    """Return what to say of brokers of a strategy that get nothing, beside others that do."""
    from alpha_cli.core.events import BROKERS
    from alpha_cli.core.text import did_you_mean, printable

    unknown = [broker for broker in idle if broker not in BROKERS]
    if unknown:
        meant = did_you_mean(unknown[0], BROKERS)
        return f"{strategy_id}: no broker {printable(unknown[0])!r}{meant}; signals go to {', '.join(active)}"
    return (
        f"{strategy_id}: nothing goes to {', '.join(idle)}, which is not active (active_brokers in alpha.yaml: "
        f"{', '.join(brokers)}); signals go to {', '.join(active)}"
    )
