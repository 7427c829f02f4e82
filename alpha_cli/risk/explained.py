"""What limits an order, control by control, with the level that says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.risk.config import PAPER, RiskFile
from alpha_cli.risk.controls import CONTROLS, Control
from alpha_cli.risk.limits import Levels

if TYPE_CHECKING:
    from alpha_cli.venue import Contract


class Row(NamedTuple):
    """A control. limit: as it was written; None: unset. sources: the levels that set it, the one that holds first."""

    control: Control
    limit: str | None
    sources: tuple[str, ...]
    effect: str


def rows(file: RiskFile, broker: str, strategy_id: str, contract: Contract) -> list[Row]:
    """Every control with a setting, in the order in which they are asked."""
    instrument = contract.instrument
    token, key = instrument.instrument_token, instrument.key
    levels = Levels(file)
    sources = levels.sources(broker, strategy_id, token, key)
    effective = levels.together(broker, strategy_id, token, key)
    found = []
    for control in CONTROLS:
        if control.setting is None:
            found.append(Row(control, None, (), "always"))
            continue
        value = getattr(effective, control.setting)
        setters = [name for name, level in sources.items() if getattr(level, control.setting) is not None]
        # The level that holds is one whose own value is the effective one; where values are put together, all do.
        holding = [name for name in setters if getattr(sources[name], control.setting) == value] or setters
        written = [_written(file, name, control.setting) for name in holding[:1]]
        if value is None:
            effect = "off" if broker == PAPER else "unset: refuses everything"
        else:
            effect = "off" if value is False or (control.setting == "market_protection" and value == 0) else "on"
            effect = "no MARKET orders" if control.setting == "market_protection" and value == 0 else effect
        others = [name for name in setters if name not in holding]
        found.append(Row(control, written[0] if written else None, (*holding, *others), effect))
    return found


def for_programs(found: Iterable[Row]) -> Iterator[str]:
    """One JSON object a line."""
    import msgspec

    for row in found:
        control = row.control
        yield msgspec.json.encode(
            {
                "number": control.number,
                "control": control.name,
                "setting": control.setting,
                "limit": row.limit,
                "sources": row.sources,
                "effect": row.effect,
                "asked": control.at,
                "codes": control.codes,
            }
        ).decode()


def for_people(
    found: Iterable[Row], file: RiskFile, contract: Contract, broker: str, strategy_id: str
) -> Iterator[str]:
    """What the instrument is, and a table."""
    from alpha_cli.tables import NOTHING, table

    instrument = contract.instrument
    strategy = f", strategy {strategy_id}" if strategy_id else ""
    yield f"{instrument.key} (token {instrument.instrument_token}, {contract.kind}) on {contract.on}"
    yield f"broker {broker}{strategy}; limits {file.hash()}"
    freeze = NOTHING if contract.freeze is None else f"{contract.freeze} units"
    tick = instrument.tick_size
    yield f"lot {contract.lot_size}, tick ₹{tick}, freeze quantity {freeze}"
    yield ""
    yield from table(
        ("R", "control", "setting", "limit", "from", "effect"),
        [
            (
                str(row.control.number),
                row.control.name,
                row.control.setting or NOTHING,
                row.limit or NOTHING,
                ", ".join(row.sources) or NOTHING,
                row.effect + ("" if row.control.at != "send" else " (before sending)"),
            )
            for row in found
        ],
    )


def _written(file: RiskFile, level: str, setting: str) -> str:
    """A value as it stands in the file."""
    place, _, name = level.partition(".")
    part: Any = getattr(file, place)
    value = getattr(part[name] if name else part, setting)
    return as_written(value)


def as_written(value: Any) -> str:
    """A value of `risk.yaml` as a person reads it."""
    if hasattr(value, "model_dump"):
        given = {name: one for name, one in value.model_dump().items() if one is not None}
        return ", ".join(f"{name} {one}" for name, one in given.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return {True: "yes", False: "off"}.get(value, str(value)) if isinstance(value, bool) else f"{value}"


def settings_table() -> str:
    """Every setting in Markdown, for the docs."""
    from alpha_cli.risk.config import BrokerLevel, InstrumentLevel, OneInstrument, StrategyLevel

    fields = {**BrokerLevel.model_fields, **OneInstrument.model_fields}
    lines = ["| setting | levels | what |", "|---|---|---|"]
    for name, field in fields.items():
        if name in InstrumentLevel.model_fields:
            levels = "all"
        elif name in StrategyLevel.model_fields:
            levels = "account, brokers, strategies"
        else:
            levels = "instruments" if name in OneInstrument.model_fields else "account, brokers"
        lines.append(f"| `{name}` | {levels} | {field.description} |")
    return "\n".join(lines) + "\n"
