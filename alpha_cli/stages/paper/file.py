"""Where the configuration of `alpha paper` comes from: a named file, the nearest `paper.yaml`, or the defaults.

`paper.yaml` is searched in `$ALPHA_CONFIG_DIR` and `./configs`. pydantic and YAML are imported only where there
is such a file.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from alpha_cli.config.files import find_own_config
from alpha_cli.config.opening_cash import opening_cash
from alpha_cli.stages.paper.config import PaperConfig

FILE = "paper.yaml"


def configured(path: Path | None = None) -> PaperConfig:
    """Return the configuration of `path`, or of the nearest `paper.yaml`, or the defaults; with the opening cash.

    Raise `ConfigurationError` if a file is wrong.
    """
    path = path or find_own_config(FILE)
    if path is None:
        config = PaperConfig()
    else:
        from alpha_cli.stages.paper.file_model import read

        config = read(path)
    return msgspec.structs.replace(config, opening_cash=opening_cash(config.broker))
