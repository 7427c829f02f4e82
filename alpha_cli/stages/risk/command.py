"""`alpha risk` on the command line: options, and the wiring of engine, limits and database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alpha_cli.cli.groups import Group
from alpha_cli.cli.options import Build, reads_stdin, stage_options, state_option
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.stream.log import log_line
from alpha_cli.stream.stage import Options, Stage

if TYPE_CHECKING:
    from alpha_cli.core.events import Event
    from alpha_cli.market.instruments import Master
    from alpha_cli.stages.risk.config import RiskFile

#: Commands that look at limits, instead of deciding by them.
TOOLS = ("explain", "test")


class RiskGroup(Group):
    """The stage itself, and the commands about its limits, imported when one is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(TOOLS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in TOOLS:
            return None
        from alpha_cli.stages.risk.tools import COMMANDS

        return COMMANDS[cmd_name]


config_option = click.option(
    "--config", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Limits, instead of the nearest risk.yaml.",
)  # fmt: skip
instruments_option = click.option(
    "--instruments", "master", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Instrument master, or Kite's dump (CSV, .gz); what is not in it is denied.  "
         "[env: ALPHA_INSTRUMENTS; default: the one that alpha instruments load made, if any]",
)  # fmt: skip


@click.group("risk", cls=RiskGroup, invoke_without_command=True)
@config_option
@instruments_option
@state_option("Folder that keeps counters, states and limits; while it has a file HALT, all is denied.")
@click.option("--as", "name", metavar="NAME", help="Name in the state folder, for a second gate.  [default: risk]")
@click.option("--fills", type=click.Path(path_type=Path), metavar="PATH",
              help="Follow a file or FIFO with what paper or execute writes: fills and order updates.")  # fmt: skip
@click.option("--ack-limits", metavar="HASH", help="Let limits hold that are looser than those of the last run.")
@stage_options(bad="fail")
@click.pass_context
def command(ctx: click.Context, /, *, options: Options, **given: Any) -> Stage | None:
    """Turn each signal into an order or a denial with a stable code.

    Limits come from risk.yaml in $ALPHA_CONFIG_DIR, ./configs or the packaged configs. While a file
    HALT is in the state folder everything is denied. The exit code is 80 if trading is halted at the end, or an account
    or a strategy is stopped. docs/risk.md has every control.

    \b
    Examples:
        alpha feed | alpha run-strategy momentum | alpha risk | grep '"type":"denial"'
        alpha feed day.ndjson | alpha run-strategy momentum | alpha risk --config strict.yaml | alpha paper
        alpha risk explain NSE:INFY --strategy momentum
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options_of_the_stage(ctx)
        return None
    reads_stdin(ctx)
    return build(ctx.obj, options, **given)


def build(
    shared: Build,
    options: Options,
    *,
    file: Path | None = None,
    master: Path | None = None,
    state: Path | None = None,
    name: str | None = None,
    fills: Path | None = None,
    ack_limits: str | None = None,
) -> Stage:
    """The stage. Raises what reading limits, master and state raises."""
    from alpha_cli.config.settings import load_settings
    from alpha_cli.market.instruments import open_master
    from alpha_cli.stages.risk.config import load_limits
    from alpha_cli.stages.risk.engine import RiskEngine
    from alpha_cli.storage.halts import halt_reason

    if state is None and (name is not None or ack_limits is not None):
        raise click.UsageError(f"{'--as' if name is not None else '--ack-limits'} needs --state DIR")
    limits = load_limits(file)
    instruments = open_master(master)
    check_names(limits, instruments, file)
    release: list[Callable[[], object]] = []
    kept: dict[str, Any] = {}
    requests: Requests | None = None
    follower: Follower | None = None

    def listen(most: int | None = 100_000) -> None:
        for control in requests or ():
            engine.hear(control)
        if requests is not None:
            kept["journal"].heard = requests.heard
        for event in follower.poll(most) if follower is not None else ():
            engine.hear(event)

    def commit() -> None:
        engine.commit()
        strangers = engine.plans.strangers
        while strangers:
            if (slip := limits.slip(strangers.pop(0))) is not None:
                _report(f"{file or 'risk.yaml'}: {slip}")

    def arrivals() -> Iterator[Event]:
        listen()
        yield from engine.news()

    try:
        if state is not None:
            from alpha_cli.stages.risk.requests import Requests
            from alpha_cli.stages.risk.store import Store

            store = Store(state, name or "risk")
            release.append(store.release)
            _put_in_force(store, limits, ack_limits)
            requests = Requests(state, store.heard, _report)
            kept = {"journal": store, "books": store.books, "standings": store.standings, "halts": store.halts}
        if fills is not None:
            from alpha_cli.stream.follow import Follower

            follower = Follower(fills, _report)
            release.append(follower.close)
        engine = RiskEngine(
            limits,
            shared.market,
            instruments=instruments,
            halt_reason=lambda: None if state is None else halt_reason(state),
            opening_cash=load_settings().opening_cash,
            **kept,
        )
        listen(None)  # what was asked for, and what was filled, while this stage did not run
    except BaseException:
        _all(release)
        raise
    return Stage(
        "risk",
        engine.steps,
        options,
        market=shared.market,
        gates=engine.gates,
        arrivals=arrivals if requests is not None or follower is not None else None,
        commit=commit,
        release=lambda: _all(release),
        counts=engine.counts,
        verdict=engine.verdict,
    )


def check_names(limits: RiskFile, instruments: Master | None, where: Path | None) -> None:
    """Refuse limits for instruments that nobody can find: they would hold for nothing. Raises `ConfigurationError`."""
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


def _put_in_force(store: Any, limits: RiskFile, acknowledged: str | None) -> None:
    """Who starts the stage puts its limits into force: the clock and the user are looked at here, at the edge."""
    from alpha_cli.core.times import IST
    from alpha_cli.stages.risk.governance import put_in_force
    from alpha_cli.storage.halts import user

    changes = put_in_force(store, limits, acknowledged, at=datetime.now(IST), by=user())
    if changes:
        more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
        _report(f"limits changed: {'; '.join(changes[:3])}{more}")


def _all(release: list[Callable[[], object]]) -> None:
    while release:
        release.pop()()


def _refuse_options_of_the_stage(ctx: click.Context) -> None:
    """Before a command no option means anything: `--config x explain` would explain other limits."""
    for param in ctx.command.params:
        source = None if param.name is None else ctx.get_parameter_source(param.name)
        if source is click.core.ParameterSource.COMMANDLINE:
            command = ctx.invoked_subcommand
            raise click.UsageError(f"{param.opts[0]} is not for {command}, or it comes after that word")


def _report(message: str) -> None:
    log_line(f"alpha risk: {printable(message, 500)}")
