"""`alpha risk explain` and `alpha risk test`: the limits of an order, and what they would have refused."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alpha_cli.cli.options import bad_option, reads_stdin
from alpha_cli.core.errors import NoInput, UsageError
from alpha_cli.core.text import did_you_mean, printable
from alpha_cli.stages.risk.options import check_names, config_option, instruments_option

if TYPE_CHECKING:
    from alpha_cli.stream.stage import Program, Source

#: The event types of a recording that are used. Orders and denials are not: today's limits decide on those again.
TYPES = frozenset({"tick", "bar", "signal", "cancel", "modify", "order_update", "fill", "portfolio", "gap", "control"})


@click.command()
@click.argument("instrument")
@config_option
@instruments_option
@click.option("--broker", default="paper", show_default=True, help="The broker account the order is for.")
@click.option("--strategy", metavar="ID", default="", help="The strategy the order is from.")
@click.option("--date", "day", metavar="DATE", help="Use the instrument as it is on this day.  [default: today]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
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
    """Print the limits of an order in INSTRUMENT: each control, its limit, and the level of risk.yaml that sets it.

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
        raise UsageError(f"{printable(instrument)} is not an instrument token; write a token or EXCHANGE:SYMBOL")
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@click.pass_context
def test(
    ctx: click.Context, source: str, *, file: Path | None, master: Path | None, bad: str, as_json: bool
) -> Program:
    """Run a recorded stream through the limits and count what each control would refuse.

    FILE is a recording that alpha feed can replay, or - for standard input. Its signals are decided again. Each signal
    that is refused is checked against every control, and fills of its orders are ignored. Nothing is stored.

    \b
    Example:
        alpha pipe "feed | run-strategy momentum | risk | paper --forward" > run.ndjson
        alpha risk test run.ndjson --config strict.yaml
    """
    from alpha_cli.config.settings import load_settings
    from alpha_cli.market.instruments import open_master
    from alpha_cli.stages.risk.config import load_limits
    from alpha_cli.stages.risk.what_if import WhatIf
    from alpha_cli.stream.stage import Program

    if source != "-" and not Path(source).exists():
        raise NoInput(f"{source}: no such file; record one with alpha risk > FILE or alpha paper --forward > FILE")
    limits = load_limits(file)
    found = open_master(master)
    check_names(limits, found, file)
    if source == "-":
        reads_stdin(ctx)
    what_if = WhatIf(limits, ctx.obj.last_ticks, found, load_settings().opening_cash, as_json=as_json)
    return Program(_recording(source, bad), [what_if.stage()])


def _recording(source: str, bad: str) -> Source:
    """Return the source that replays the events of a file, a folder or a stream that the limits need."""
    from alpha_cli.core.times import IST
    from alpha_cli.stages.feed.files import find, is_stream
    from alpha_cli.stages.feed.replay import Replay
    from alpha_cli.stages.feed.window import Window
    from alpha_cli.stream.stage import Options, Source

    files = [] if is_stream(source) else find((source,))
    window = Window(start=None, end=None, zone=IST)
    replay = Replay(files=files, stream=source, bad=bad, types=TYPES, window=window, speed=None, zone=IST)
    return Source("feed", replay.description, replay.batches, lifecycle=replay, options=Options(bad=bad, quiet=True))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--date {text!r}: write it as 2026-11-24") from None


COMMANDS: dict[str, click.Command] = {"explain": explain, "test": test}
