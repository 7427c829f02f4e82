"""`alpha paper` on the command line: options, and the wiring of engine, books and database."""

from __future__ import annotations

from pathlib import Path

import click

from alpha_cli.options import Build, reads_stdin, stage_options, state_option
from alpha_cli.stage import Options, Stage


@click.command(name="paper")
@stage_options(bad="fail")
@state_option("Folder that keeps the books, for the next run to go on from.")
@click.option(
    "--as", "name", metavar="NAME", help="Name in the state folder, for a second account there.  [default: paper]"
)
@click.option("--cash", metavar="RUPEES", help="What a new account begins with.  [default: 1000000]")
@click.option("--forward", is_flag=True, help="Keep the input in the output.")
@click.pass_context
def command(
    ctx: click.Context, *, state: Path | None, name: str | None, cash: str | None, forward: bool, options: Options
) -> Stage:
    """Simulate a broker: fill the orders of broker `paper` at the prices of the ticks.

    Writes a fill and an order_update for each order, and at the end a portfolio with cash, positions
    and profit. MARKET orders fill on the newest tick, LIMIT orders when a tick trades at their price.

    \b
    Examples:
        alpha feed | alpha run-strategy momentum | alpha risk | alpha paper
        alpha pipe 'feed | run-strategy momentum | risk' | alpha paper --state ~/trading
        sqlite-utils rows ~/trading/paper.db trades --table
    """
    reads_stdin(ctx)
    from alpha_cli.paper.config import PaperConfig, rupees
    from alpha_cli.paper.engine import Engine
    from alpha_cli.paper.ledger import Account
    from alpha_cli.paper.orders import Journal, Memory

    build: Build = ctx.obj
    config = PaperConfig(cash=None if cash is None else rupees(cash))
    journal: Journal
    if state is None:
        if name is not None:
            raise click.UsageError("--as names a state; it needs --state DIR")
        journal = Memory()
        engine = Engine(Account.opened(config.broker, config.starting_cash), build.market, journal)
    else:
        from alpha_cli.paper.store import Store  # SQLite is for those who keep something

        journal = store = Store(state, name or "paper", config)
        engine = Engine(store.account, build.market, store, store.resting())
    return Stage(
        "paper",
        engine.steps,
        options,
        market=build.market,
        forward=forward,
        opening=engine.opening,
        close=engine.close,
        commit=journal.commit,
        release=journal.release,
        counts=engine.counts,
    )
