"""Trained models: an ONNX file NAME.onnx and, next to it, NAME.json, which describes it.

    model = load_model("direction")  # or load_model("mine.onnx")
    model.probability(features)  # of a rise, 0 to 1

The description has the SHA-256 of the model and its features in their order, so that a model which
was replaced, cut short or trained on something else is refused before it can trade. onnxruntime is
an extra and takes a moment to import, so nothing is imported before the first model is loaded. It
runs on one thread: the same features give the same answer, and a model this small gains nothing from more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from alpha_cli.config.files import packaged
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.kit.features import FEATURES

_TOLERANCE = 1e-3  # of the sum of both probabilities, which is 1


class Description(msgspec.Struct, frozen=True):
    """NAME.json. The first two run the model, the rest is for people."""

    features: tuple[str, ...]
    sha256: str
    output: str = ""
    horizon: int | None = None  # ticks that it looks ahead
    trained_on: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    versions: dict[str, str] = {}
    note: str = ""


class Model:
    """A loaded model. Not for two threads at once: its input is one array, which is reused."""

    def __init__(self, session: Any, description: Description) -> None:
        np: Any = import_module("numpy")
        self.description = description
        self._run = session.run
        self._outputs = [session.get_outputs()[-1].name]
        self._input = np.zeros((1, len(description.features)), dtype=np.float32)
        self._inputs = {session.get_inputs()[0].name: self._input}

    def probability(self, features: Sequence[float]) -> float:
        """Return the probability of a rise; `features` are values of `FEATURES`, in that order."""
        self._input[0] = features
        rise: float = self._run(self._outputs, self._inputs)[0].item(1)
        if not 0 <= rise <= 1:
            raise ValueError(f"the model says {rise}, which is no probability, of {tuple(features)}")
        return rise

    def check(self) -> None:
        """Raise `ValueError` unless the model takes these features and answers with [P(fall), P(rise)]."""
        answers = self._run(self._outputs, self._inputs)[0]
        if getattr(answers, "shape", None) != (1, 2):
            raise ValueError(f"its last output is not one row of P(fall) and P(rise) but {printable(str(answers))}")
        if not (abs(answers.sum() - 1) < _TOLERANCE and answers.min() >= 0):
            raise ValueError(f"its last output is no probabilities but {printable(str(answers))}")


def load_model(name: str) -> Model:
    """Return a model by its packaged name or a path that ends in .onnx. Raise `ConfigurationError`."""
    return load(find(name))


def find(name: str) -> Path:
    """Return the file of a model: `name` is a packaged one, or a path that ends in .onnx."""
    if name.endswith(".onnx"):
        return Path(name)
    folder = packaged("strategies") / "models"
    path = folder / f"{name}.onnx"
    if "/" in name or not path.is_file():
        from alpha_cli.core.text import did_you_mean

        known = [known.stem for known in folder.glob("*.onnx")]
        raise ConfigurationError(
            f"no packaged model {printable(repr(name))}{did_you_mean(name, known)}; for a file give its path, NAME.onnx"
        )
    return path


def load(path: Path) -> Model:
    """Return the model at `path`; an unchanged one is loaded once. Raise `ConfigurationError`."""
    return _ready(path.resolve(), _read(path), _read(path.with_suffix(".json")))


@lru_cache(maxsize=16)
def _ready(path: Path, content: bytes, description_text: bytes) -> Model:
    description_path = path.with_suffix(".json")
    try:
        description = msgspec.json.decode(description_text, type=Description)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{description_path}: not the description of a model: {error}") from None
    digest = sha256(content).hexdigest()
    if digest != description.sha256:
        raise ConfigurationError(
            f"{path}: not the model that {description_path.name} describes: "
            f"its SHA-256 is {digest}, not {printable(description.sha256)}"
        )
    if description.features != FEATURES:
        raise ConfigurationError(
            f"{description_path}: the model takes the features {printable(', '.join(description.features))}, "
            f"and there are {', '.join(FEATURES)}; train it again: scripts/train"
        )
    session = _session(path, content)
    try:
        model = Model(session, description)
        model.check()
    except Exception as error:  # onnxruntime has exceptions of its own
        raise ConfigurationError(f"{path}: not usable: {_first_line(error)}") from None
    return model


def _session(path: Path, content: bytes) -> Any:
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise ConfigurationError(
            f"{path.name} needs onnxruntime: pip install 'alpha-cli[ml]' ({_first_line(error)})"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # fatal: what goes wrong is raised, and stderr is ours
    onnxruntime.set_default_logger_severity(4)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfigurationError(f"{path}: not a usable ONNX model: {_first_line(error)}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def _first_line(error: Exception) -> str:
    return printable(next(iter(str(error).splitlines()), "") or type(error).__name__, 300)
