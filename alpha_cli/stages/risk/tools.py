"""`alpha risk explain` and `alpha risk test`: what the limits are for an order, and what they would have refused."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alpha_cli.cli.options import bad_option
from alpha_cli.core.errors import NoInput, UsageError
from alpha_cli.core.text import did_you_mean, printable
from alpha_cli.stages.risk.command import check_names, config_option, instruments_option

if TYPE_CHECKING:
    from alpha_cli.stages.risk.what_if import Trial
    from alpha_cli.stream.stage import Program

#: What of a recording a trial looks at. Orders and denials of that day are what today's limits decide anew.
TYPES = "tick,bar,signal,cancel,modify,order_update,fill,portfolio,gap,control"


@click.command()
@click.argument("instrument")
@config_option
@instruments_option
@click.option("--broker", default="paper", show_default=True, help="Whose account the order would be for.")
@click.option("--strategy", metavar="ID", default="", help="Whose order it would be.")
@click.option("--date", "day", metavar="DATE", help="Of which day's instrument.  [default: today]")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
def explain(
    instrument: str,
    *,
    file: Path | None,
    master: Path | None,
    broker: str,
    strategy: str,
    day: str | None,
    as_json: bool,
) -> None:
    """Print what limits an order for INSTRUMENT: each control, its limit, and which level of risk.yaml it is from.

    \b
    Example:
        alpha risk explain NSE:INFY --strategy momentum
        alpha risk explain 256265 --broker zerodha --json | jq 'select(.limit == null)'
    """
    from alpha_cli.core.events import BROKERS
    from alpha_cli.core.times import IST
    from alpha_cli.market.contracts import Contracts
    from alpha_cli.market.instruments import open_master, resolve
    from alpha_cli.stages.risk import explained
    from alpha_cli.stages.risk.config import load_limits

    limits = load_limits(file)
    found = open_master(master)
    check_names(limits, found, file)
    on = _day(day) if day is not None else datetime.now(IST).date()
    if broker not in BROKERS:
        raise UsageError(f"--broker {printable(broker)}: no such broker{did_you_mean(broker, BROKERS)}")
    if instrument.isdecimal() and not 0 < int(instrument[:20]) < 1 << 32:
        raise UsageError(f"{printable(instrument)} is no instrument token; write one, or EXCHANGE:SYMBOL")
    token = int(instrument) if instrument.isdecimal() else resolve(instrument, found)
    contract = Contracts(lambda: found).contract(token, on)
    rows = explained.rows(limits, broker, strategy, contract)
    for line in (
        explained.for_programs(rows, limits, broker, strategy)
        if as_json
        else explained.for_people(rows, limits, contract, broker, strategy)
    ):
        click.echo(line)


@click.command()
@click.argument("source", metavar="FILE")
@config_option
@instruments_option
@bad_option("fail")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
@click.pass_context
def test(
    ctx: click.Context, source: str, *, file: Path | None, master: Path | None, bad: str, as_json: bool
) -> Program:
    """Run a recorded stream through the limits and tabulate what each control would have refused.

    FILE is what alpha feed replays; signals in it are decided anew, those that would have been refused are asked of
    every control, and fills of orders that were refused now count for nothing. Nothing is kept.

    \b
    Example:
        alpha pipe "feed | run-strategy momentum | risk | paper --forward" > run.ndjson
        alpha risk test run.ndjson --config strict.yaml
    """
    from alpha_cli.config.settings import load_settings
    from alpha_cli.market.instruments import open_master
    from alpha_cli.stages.feed.command import command as feed
    from alpha_cli.stages.risk.config import load_limits
    from alpha_cli.stages.risk.what_if import Trial
    from alpha_cli.stream.stage import Program, Source

    if source != "-" and not Path(source).exists():
        raise NoInput(f"{source}: no such file; record one with alpha risk > FILE or alpha paper --forward > FILE")
    limits = load_limits(file)
    found = open_master(master)
    check_names(limits, found, file)
    trial: Trial = Trial(limits, ctx.obj.market, found, load_settings().opening_cash, as_json=as_json)
    with feed.make_context("feed", [source, "--types", TYPES, "--bad", bad, "-q"], parent=ctx) as inner:
        made = feed.invoke(inner)
    assert isinstance(made, Source)
    return Program(made, [trial.stage()])


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--date {text!r}: write it as 2026-11-24") from None


COMMANDS: dict[str, click.Command] = {"explain": explain, "test": test}
