"""The environment variables that alpha reads; without what their values take to be checked."""

from __future__ import annotations

from collections.abc import Iterable

#: Every setting of `alpha.yaml` by its place there; the variable of `retries.attempts` is ALPHA_RETRIES_ATTEMPTS.
SETTINGS = (
    "active_brokers",
    "default_brokers",
    "opening_cash",
    "retries.attempts",
    "retries.base_delay",
    "retries.max_delay",
    "timeouts.connect",
    "timeouts.read",
    "kafka.topic_prefix",
    "kafka.group_prefix",
    "log_level",
)

#: Those that are no settings of `alpha.yaml`.
OTHERS = ("ALPHA_CONFIG_DB", "ALPHA_CONFIG_DIR", "ALPHA_DEBUG", "ALPHA_INSTRUMENTS", "ALPHA_STATE")

_PREFIX = "ALPHA_"
_NEAR = 0.75  # how much of two names has to agree


def variable(setting: str) -> str:
    """Return the environment variable that sets `setting`."""
    return _PREFIX + setting.replace(".", "_").upper()


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return those of `names` that look like a variable of alpha and are none, each with the one likely meant."""
    known = {*OTHERS, *map(variable, SETTINGS)}
    unknown = [name for name in names if name.startswith(_PREFIX) and name not in known]
    if not unknown:
        return {}
    from difflib import get_close_matches  # seldom needed

    endings = [name.removeprefix(_PREFIX) for name in sorted(known)]
    near = {name: get_close_matches(name.removeprefix(_PREFIX), endings, 1, _NEAR) for name in unknown}
    return {name: _PREFIX + found[0] for name, found in sorted(near.items()) if found}
