"""`alpha paper` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alpha_cli.cli.groups import StageGroup
from alpha_cli.cli.options import Build, reads_stdin, stage_options, state_option, watched
from alpha_cli.stages.paper.config import CHARGES, PaperConfig, latency, rupees, slippage
from alpha_cli.stages.paper.file import configured
from alpha_cli.stream.stage import Options, Stage

if TYPE_CHECKING:
    pass

#: Commands that look at the account of a state folder or change it; see `accounts`.
ACCOUNT = ("init", "reset", "deposit", "positions", "holdings", "orders", "trades", "notes", "export")


@click.group(
    "paper",
    cls=StageGroup,
    invoke_without_command=True,
    tools=ACCOUNT,
    module="alpha_cli.stages.paper.accounts",
    shared=("state", "name"),
)
@stage_options(bad="fail")
@state_option("Folder that keeps the books, for the next run to go on from.")
@click.option("--as", "name", metavar="NAME", help="Name in the state folder, for a second account.  [default: paper]")
@click.option("--cash", metavar="RUPEES", help="Cash of a new account.  [default: opening_cash in alpha.yaml, 1000000]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Settings: margins, bands and these options.  [default: the nearest paper.yaml, if there is one]",
)
@click.option(
    "--charges",
    type=click.Choice(CHARGES),
    help="Charges on each fill; settled by the day's contract note; none.  [default: estimate]",
)
@click.option(
    "--slippage",
    "slips",
    metavar="MODEL",
    help="What taking liquidity costs: depth, '2 ticks' or '5 bps' beyond the best price.  [default: depth]",
)
@click.option(
    "--latency",
    "delay",
    type=int,
    metavar="MS",
    help="Time from an order to the exchange, by tick times.  [default: 0]",
)
@click.option(
    "--instruments",
    "master",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instrument master: tick and lot sizes, expiries.  [default: that of alpha instruments]",
)
@click.option("--all-hours", is_flag=True, help="Trade on every tick: no sessions, no square-off.")
@click.option("--forward", is_flag=True, help="Keep the input in the output.")
@click.pass_context
def command(ctx: click.Context, /, *, options: Options, forward: bool, **given: Any) -> Stage | None:  # fmt: skip
    """Simulate a broker: fill the orders of broker `paper` at the prices of the ticks.

    Writes fills and order updates, and at the end a portfolio with cash, positions and profit. MARKET, LIMIT,
    SL and SL-M; DAY and IOC; MIS, CNC and NRML; with charges, margins and the exchange's own refusals, as in
    docs/matching.md. With a command, it shows or changes the account that --state DIR keeps.

    \b
    Examples:
        alpha feed | alpha run-strategy momentum | alpha risk | alpha paper
        alpha pipe 'feed | run-strategy momentum | risk' | alpha paper --state ~/trading
        alpha paper --state ~/trading positions
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = (given["state"], given["name"] or "paper")
        return None
    reads_stdin(ctx)
    if given["state"] is None and given["name"] is not None:
        raise click.UsageError("--as names a state; it needs --state DIR")
    from alpha_cli.stages.paper.build import PaperStage

    shared: Build = ctx.obj
    paper = PaperStage(
        shared.last_ticks,
        _config(given),
        master=given["master"],
        state=given["state"],
        name=given["name"],
        forward=forward,
    )
    return paper.stage(watched(options, given["state"], given["name"] or "paper"))


def _config(given: dict[str, Any]) -> PaperConfig:
    """Return the configuration: the command line before the file, and the file before the defaults."""
    import msgspec

    changed: dict[str, Any] = {"all_hours": given["all_hours"]}
    if given["cash"] is not None:
        changed["cash"] = rupees(given["cash"])
    if given["charges"] is not None:
        changed["charges"] = given["charges"]
    if given["slips"] is not None:
        changed["slippage"] = slippage(given["slips"])
    if given["delay"] is not None:
        changed["latency"] = latency(given["delay"])
    return msgspec.structs.replace(configured(given["config_file"]), **changed)
