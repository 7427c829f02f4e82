"""Train `direction`, the model of ml_momentum and hybrid_ml_rsi, and write direction.onnx and direction.json.

    scripts/train                                    # strategies/models, as shipped
    scripts/train --days 3 --ticks 5000 --output DIR

The model estimates whether the price will be higher HORIZON ticks from now. The synthetic market of
`alpha feed` is a random walk: there is nothing to learn in it, and a model trained on it always answers 0.5.
So a pattern is added: a share of the mean change of about the last twenty ticks is added to each change,
which is momentum, and a share of that of the last three is subtracted, which is how trades bounce between
bid and ask. The result is a fitted rule for showing and testing the way from features to a signal. It is no
evidence that any market moves like that; its accuracy on the unaltered random walk is measured and stored
with it.

Every day is used twice, the second time upside down, so that the model does not prefer rising markets.
Days, features, solver and conversion are deterministic: the same command with the same versions writes the
same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from alpha_cli import Tick, pipe
from alpha_cli.kit.features import FEATURES, Features

NAME = "direction"
OUTPUT = Path(__file__).resolve().parent.parent / "strategies" / "models"
INSTRUMENTS = (256265, 260105)
HORIZON = 20  # ticks
MOMENTUM = 0.8, 20  # share of the recent mean change that is added to the next change; ticks that count as recent
BOUNCE = 0.6, 3  # share that is subtracted; ticks
STEP = 0.05  # rupees, of prices
OPSETS = {"": 17, "ai.onnx.ml": 3}  # old enough for any onnxruntime that runs on Python 3.11
NOTE = (
    "Trained on a random walk to which momentum and a bounce were added on purpose; it shows the way from features "
    "to a signal and is no evidence that a market can be predicted. On the random walk itself there is nothing to "
    "predict, and it is right half of the time."
)

Prices = list[float]
Samples = tuple[np.ndarray, np.ndarray]


def synthetic_days(seeds: Sequence[int], ticks: int) -> Iterator[Prices]:
    """Yield the prices of each instrument on the synthetic day of each seed."""
    for seed in seeds:
        for token in INSTRUMENTS:
            events = pipe(f"feed --mode ltp --seed {seed} --ticks {ticks} --instruments {token}")
            yield [event.last_price for event in events if isinstance(event, Tick)]


def with_pattern(prices: Prices, sign: int = 1) -> Prices:
    """Return the same day in a market with momentum and bounce; upside down for a `sign` of -1."""
    (momentum, long), (bounce, short) = MOMENTUM, BOUNCE
    made, drift, swing = [prices[0]], 0.0, 0.0
    for before, price in pairwise(prices):
        change = sign * (price / before - 1) + momentum * drift - bounce * swing
        drift += (change - drift) / long
        swing += (change - swing) / short
        made.append(max(round(made[-1] * (1 + change) / STEP), 1) * STEP)
    return made


def samples(days: Sequence[Prices]) -> Samples:
    """Return features, and whether the price was higher HORIZON ticks later. Equal prices give no sample."""
    rows, rose = [], []
    for prices in days:
        features = Features()
        for price, later in zip(prices, prices[HORIZON:], strict=False):
            row = features.update(price)
            if row is not None and later != price:
                rows.append(row)
                rose.append(later > price)
    return np.array(rows, dtype=np.float32), np.array(rose)


def measure(model: Pipeline, of: Samples) -> dict[str, float]:
    """Return accuracy and log loss (0.6931 is the log loss of always answering 0.5)."""
    rows, rose = of
    up = model.predict_proba(rows)[:, 1]
    return {
        "samples": len(rose),
        "share_of_rises": round(float(rose.mean()), 4),
        "accuracy": round(float(accuracy_score(rose, up > 0.5)), 4),
        "log_loss": round(float(log_loss(rose, up)), 4),
    }


def to_onnx(model: Pipeline) -> bytes:
    """Return the model as ONNX; its last output is [P(fall), P(rise)]."""
    converted = convert_sklearn(
        model, NAME, [("features", FloatTensorType([None, len(FEATURES)]))], target_opset=OPSETS,
        options={id(model): {"zipmap": False}},
    )  # fmt: skip
    return converted.SerializeToString(deterministic=True)


def assert_equal(model: Pipeline, onnx: bytes, rows: np.ndarray) -> None:
    """Check that the converted model gives the same probabilities as the trained one."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    difference = np.abs(session.run(None, {"features": rows})[-1] - model.predict_proba(rows)).max()
    if not difference < 1e-5:
        raise SystemExit(f"train: onnxruntime and scikit-learn differ by {difference}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--days", type=int, default=6, help="days to train on, each of two instruments [6]")
    parser.add_argument("--ticks", type=int, default=22_500, help="ticks of a day [22500]")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR", help="where to write [strategies/models]")
    arguments = parser.parse_args()

    seeds = range(1, arguments.days + 1)
    held_out = range(arguments.days + 1, arguments.days + 4)
    days = list(synthetic_days(seeds, arguments.ticks))
    unseen = list(synthetic_days(held_out, arguments.ticks))
    rows, rose = samples([with_pattern(prices, sign) for prices in days for sign in (1, -1)])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rose)
    measured = {
        "unseen_days_with_the_pattern": measure(model, samples([with_pattern(prices) for prices in unseen])),
        "unseen_days_random_walk": measure(model, samples(unseen)),
    }
    onnx = to_onnx(model)
    assert_equal(model, onnx, rows)

    description: dict[str, Any] = {
        "features": FEATURES,
        "sha256": sha256(onnx).hexdigest(),
        "output": f"probability that the price is higher after {HORIZON} ticks",
        "horizon": HORIZON,
        "trained_on": {
            "command": f"scripts/train --days {arguments.days} --ticks {arguments.ticks}",
            "seeds": list(seeds),
            "held_out_seeds": list(held_out),
            "instruments": INSTRUMENTS,
            "pattern": {"momentum": MOMENTUM, "bounce": BOUNCE},
        },
        "measured": measured,
        "versions": {name: version(name) for name in ("numpy", "onnx", "scikit-learn", "scipy", "skl2onnx")},
        "note": NOTE,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / f"{NAME}.onnx").write_bytes(onnx)
    (arguments.output / f"{NAME}.json").write_text(json.dumps(description, indent=2) + "\n")
    for where, figures in measured.items():
        print(f"{where:30}", *(f"{name} {figure}" for name, figure in figures.items()), sep="  ")
    weights = zip(FEATURES, model[-1].coef_[0], strict=True)
    print("weights", *(f"{name} {weight:+.3f}" for name, weight in weights), sep="  ")


if __name__ == "__main__":
    main()
