"""`alpha risk`: options and wiring."""

from __future__ import annotations

import os
from pathlib import Path

import click

from alpha_cli.errors import tell
from alpha_cli.events import Control, Signal
from alpha_cli.options import reads_stdin, stage_options, state_option
from alpha_cli.stage import Options, Stage
from alpha_cli.state import halt_reason


@click.command("risk")
@click.option("--config", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Limits, instead of the nearest risk.yaml.")  # fmt: skip
@click.option("--instruments", "master", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Instrument master, or Kite's dump (CSV, .gz); what is not in it is denied.  "
                   "[env: ALPHA_INSTRUMENTS; default: the one that alpha instruments load made, if any]")  # fmt: skip
@state_option("Folder of the pipeline: while it has a file HALT, all is denied.")
@stage_options(bad="fail")
@click.pass_context
def command(ctx: click.Context, file: Path | None, master: Path | None, state: Path | None, options: Options) -> Stage:
    """Turn each signal into an order or a denial with a stable code.

    Limits come from risk.yaml in $ALPHA_CONFIG_DIR, ./configs or the packaged configs. While a file
    HALT is in the state folder everything is denied, and the exit code is 80.

    \b
    Example:
        alpha feed | alpha run-strategy momentum | alpha risk | grep '"type":"denial"'
        alpha feed day.ndjson | alpha run-strategy momentum | alpha risk --config strict.yaml | alpha paper
    """
    reads_stdin(ctx)
    from alpha_cli.instruments import open_master
    from alpha_cli.risk.config import load_limits
    from alpha_cli.risk.engine import RiskEngine

    if state is not None and not os.path.lexists(state):
        tell(f"alpha risk: --state {state}: no such folder yet; a HALT will be seen once there is")
    market = ctx.obj.market
    engine = RiskEngine(
        load_limits(file),
        market,
        instruments=open_master(master),
        halt_reason=lambda: None if state is None else halt_reason(state),
    )
    return Stage(
        "risk",
        {Signal: engine.on_signal, Control: engine.on_control},
        options,
        market=market,
        counts=engine.counts,
        verdict=engine.verdict,
    )
