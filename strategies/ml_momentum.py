"""ML momentum: a trained model estimates the chance of a rise; follow it where it is sure.

The model answers the features of each tick (`alpha_cli.features`) with P, the probability that the price
will be higher some ticks from now. Where P crosses above `buy_above` the strategy buys, where it crosses
below `sell_below` it sells; while P stays beyond, nothing more happens, and the first P is no crossing.

The packaged model `direction` knows a pattern that was planted in a random walk by scripts/train.py. It
shows how a model trades. It is not a way to make money.
"""

from __future__ import annotations

from alpha_cli import ModelParameters, ModelStrategy


class Parameters(ModelParameters):
    """The parameters, with bounds and units."""


class MlMomentum(ModelStrategy):
    """See the module."""

    name = "ml_momentum"


def create_processor(**parameters: object) -> MlMomentum:
    """Return a processor for one instrument, without its model: call `load_model`. Raise `ValidationError`."""
    return MlMomentum(Parameters.model_validate(parameters))
