"""The limits of an order, control by control, with the level that sets each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.core.text import printable
from alpha_cli.stages.risk.config import RiskFile
from alpha_cli.stages.risk.controls.table import CONTROLS, Control, is_set
from alpha_cli.stages.risk.limits import PAPER
from alpha_cli.stages.risk.refusal import seconds, share
from alpha_cli.stages.risk.resolve import Levels, limits_hash

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract


#: Settings that are not controls, with their effect.
OTHERS = {
    ("sizing", True): "sizes signals without a quantity",
    ("assume_market_fills", True): "a MARKET order counts as filled",
    ("assume_market_fills", False): "a MARKET order counts as open until a report on it",
}


class Row(NamedTuple):
    """A control. limit: as it is written; None: unset. sources: the levels that set it, the one that applies first."""

    control: Control[Any]
    limit: str | None
    sources: tuple[str, ...]
    effect: str


def rows(file: RiskFile, broker: str, strategy_id: str, contract: Contract) -> list[Row]:
    """Return every control with its limit, in the order in which they are asked."""
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
        # The level that applies comes first: one whose own value is that of all levels combined.
        holding = [name for name in setters if getattr(sources[name], control.setting) == value]
        looser = [name for name in setters if name not in holding]
        if not is_set(control, effective, contract):
            effect = "off" if broker == PAPER else "unset: refuses everything"
        else:
            effect = _EFFECTS.get((control.setting, value), "on")
        limit = None
        if holding:
            limit = as_written(getattr(file.levels()[holding[0]], control.setting))
        elif setters:
            limit = _combined(control.setting, value)
        found.append(Row(control, limit, (*holding, *looser), effect))
    return found


def other_settings(file: RiskFile, broker: str, strategy_id: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield setting, value, level and effect of what is set and is not a control."""
    levels = file.levels()
    for name in (f"strategies.{strategy_id}", f"brokers.{broker}", "account"):  # the narrowest first
        rule = getattr(levels.get(name), "sizing", None)
        if rule is not None:
            yield "sizing", as_written(rule), name, OTHERS["sizing", True]
            break
    assumes = Levels(file).broker(broker).assume_market_fills
    for name in (f"brokers.{broker}", "account"):
        if assumes is not None and getattr(levels.get(name), "assume_market_fills", None) == assumes:
            yield "assume_market_fills", as_written(assumes), name, OTHERS["assume_market_fills", assumes]
            break


#: The effect of values that switch a control off.
_EFFECTS: dict[tuple[str, Any], str] = {
    ("market_protection", 0): "no MARKET orders",
    **dict.fromkeys(
        [
            (name, False)
            for name in ("session_hours", "self_match_prevention", "participation", "circuit_limits", "reconcile",
                         "algo_id", "registered_ip")
        ],
        "off",
    ),
}  # fmt: skip

#: The names of the numbers in a limit that has several.
_PARTS = {
    "price_tolerance": ("equity", "index_future", "stock_future", "option"),
    "entry_window": ("after_open", "before_close"),
    "message_rate": ("second", "minute", "day"),
    "orders_to_trades": ("ratio", "after"),
    "participation": ("day", "minute"),
    "repeated_execution": ("orders", "seconds", "round_trips"),
}


def _combined(setting: str, value: Any) -> str:
    """Return a limit that no level has by itself, but several combined."""
    if setting == "allowed_instruments":
        return " and ".join(f"({', '.join(sorted(names))})" for names in value)
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "none"
    if setting in {"price_tolerance", "participation"}:
        value = tuple(None if one is None else share(one) for one in value)
    if setting == "repeated_execution":
        value = (value[0], seconds(value[1]), value[2])
    parts = zip(_PARTS[setting], value, strict=True)
    return ", ".join(f"{name} {one}" for name, one in parts if one is not None)


def for_programs(found: Iterable[Row], file: RiskFile, broker: str, strategy_id: str) -> Iterator[str]:
    """Yield one JSON object per line; a setting that is not a control has no number."""
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
    for setting, value, level, effect in other_settings(file, broker, strategy_id):
        row_start = {"number": None, "control": None, "setting": setting, "limit": value, "sources": [level]}
        yield msgspec.json.encode({**row_start, "effect": effect, "asked": None, "codes": []}).decode()


def for_people(
    found: Iterable[Row], file: RiskFile, contract: Contract, broker: str, strategy_id: str
) -> Iterator[str]:
    """Yield the instrument, and a table of the controls."""
    from alpha_cli.cli.tables import NOTHING, table

    instrument = contract.instrument
    strategy = f", strategy {strategy_id}" if strategy_id else ""
    yield f"{instrument.key} (token {instrument.instrument_token}, {contract.kind}) on {contract.on}"
    yield f"broker {broker}{strategy}; limits {limits_hash(file)}"
    freeze = NOTHING if contract.freeze is None else f"{contract.freeze} units"
    tick = instrument.tick_size
    if not contract.listed:
        yield "not in the instrument master: every order is refused with INSTRUMENT_UNKNOWN"
    elif contract.kind == "index":
        yield "an index: every order is refused with INSTRUMENT_NOT_TRADABLE"
    yield f"lot {contract.lot_size}, tick ₹{tick}, freeze quantity {freeze}"
    if strategy_id and file.strategies and strategy_id not in file.strategies:
        yield file.misspelling_hint(strategy_id) or f"strategy {printable(strategy_id, 64)} has no limits of its own"
    for setting, value, level, effect in other_settings(file, broker, strategy_id):
        yield f"{setting} {value} (from {level}): {effect}"
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


def as_written(value: Any) -> str:
    """Return a value of `risk.yaml` as a person reads it."""
    if hasattr(value, "model_dump"):
        given = {name: one for name, one in value.model_dump().items() if one is not None}
        return ", ".join(f"{name} {one}" for name, one in given.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return {True: "yes", False: "off"}.get(value, str(value)) if isinstance(value, bool) else f"{value}"


def settings_table() -> str:
    """Return every setting as a Markdown table, for the docs."""
    from alpha_cli.stages.risk.config import BrokerLevel, InstrumentLevel, OneInstrument, StrategyLevel

    fields = {**BrokerLevel.model_fields, **OneInstrument.model_fields}
    lines = ["| setting | levels | meaning |", "|---|---|---|"]
    for name, field in fields.items():
        if name in InstrumentLevel.model_fields:
            levels = "all"
        elif name in StrategyLevel.model_fields:
            levels = "account, brokers, strategies"
        else:
            levels = "instruments" if name in OneInstrument.model_fields else "account, brokers"
        lines.append(f"| `{name}` | {levels} | {field.description} |")
    return "\n".join(lines) + "\n"
