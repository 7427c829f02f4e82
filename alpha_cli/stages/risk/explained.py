"""What limits an order, control by control, with the level that says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.core.text import printable
from alpha_cli.stages.risk.config import RiskFile
from alpha_cli.stages.risk.controls import CONTROLS, Control, is_set
from alpha_cli.stages.risk.facts import seconds, share
from alpha_cli.stages.risk.limits import PAPER, Levels

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract


#: What can be set and is no control, with what it does.
OTHERS = {
    ("sizing", True): "sizes signals without a quantity",
    ("assume_market_fills", True): "a MARKET order counts as filled",
    ("assume_market_fills", False): "a MARKET order counts as open until it is heard of",
}


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
        # The level that holds comes first: one whose own value is what all come to together.
        holding = [name for name in setters if getattr(sources[name], control.setting) == value]
        others = [name for name in setters if name not in holding]
        if not is_set(control, effective, contract):
            effect = "off" if broker == PAPER else "unset: refuses everything"
        else:
            effect = _EFFECTS.get((control.setting, value), "on")
        limit = None
        if holding:
            limit = as_written(_of(file, holding[0], control.setting))
        elif setters:
            limit = _in_words(control.setting, value)
        found.append(Row(control, limit, (*holding, *others), effect))
    return found


def others(file: RiskFile, broker: str, strategy_id: str) -> Iterator[tuple[str, str, str, str]]:
    """Setting, value, level and effect of what is set and is no control."""
    levels = file.levels()
    for name in (f"strategies.{strategy_id}", f"brokers.{broker}", "account"):  # the narrowest
        rule = getattr(levels.get(name), "sizing", None)
        if rule is not None:
            yield "sizing", as_written(rule), name, OTHERS["sizing", True]
            break
    assumes = Levels(file).broker(broker).assume_market_fills
    for name in (f"brokers.{broker}", "account"):
        if assumes is not None and getattr(levels.get(name), "assume_market_fills", None) == assumes:
            yield "assume_market_fills", as_written(assumes), name, OTHERS["assume_market_fills", assumes]
            break


#: What a value does that is no limit.
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

#: The names of the numbers of a limit that several levels make together.
_PARTS = {
    "price_tolerance": ("equity", "index_future", "stock_future", "option"),
    "entry_window": ("after_open", "before_close"),
    "message_rate": ("second", "minute", "day"),
    "orders_to_trades": ("ratio", "after"),
    "participation": ("day", "minute"),
    "repeated_execution": ("orders", "seconds", "round_trips"),
}


def _in_words(setting: str, value: Any) -> str:
    """A limit that no level has by itself: what several come to together."""
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
    """One JSON object a line; what is no control has no number."""
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
    for setting, value, level, effect in others(file, broker, strategy_id):
        told = {"number": None, "control": None, "setting": setting, "limit": value, "sources": [level]}
        yield msgspec.json.encode({**told, "effect": effect, "asked": None, "codes": []}).decode()


def for_people(
    found: Iterable[Row], file: RiskFile, contract: Contract, broker: str, strategy_id: str
) -> Iterator[str]:
    """What the instrument is, and a table."""
    from alpha_cli.cli.tables import NOTHING, table

    instrument = contract.instrument
    strategy = f", strategy {strategy_id}" if strategy_id else ""
    yield f"{instrument.key} (token {instrument.instrument_token}, {contract.kind}) on {contract.on}"
    yield f"broker {broker}{strategy}; limits {file.hash()}"
    freeze = NOTHING if contract.freeze is None else f"{contract.freeze} units"
    tick = instrument.tick_size
    if not contract.listed:
        yield "not in the instrument master: every order is refused with INSTRUMENT_UNKNOWN"
    elif contract.kind == "index":
        yield "an index: every order is refused with INSTRUMENT_NOT_TRADABLE"
    yield f"lot {contract.lot_size}, tick ₹{tick}, freeze quantity {freeze}"
    if strategy_id and file.strategies and strategy_id not in file.strategies:
        yield file.slip(strategy_id) or f"strategy {printable(strategy_id, 64)} has no limits of its own"
    for setting, value, level, effect in others(file, broker, strategy_id):
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


def _of(file: RiskFile, level: str, setting: str) -> Any:
    """A value as it stands in the file."""
    return getattr(file.levels()[level], setting)


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
    from alpha_cli.stages.risk.config import BrokerLevel, InstrumentLevel, OneInstrument, StrategyLevel

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
