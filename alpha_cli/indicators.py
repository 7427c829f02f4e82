"""Public door to `alpha_cli.kit.indicators`, under the name that strategies written before the layout import."""

from alpha_cli.kit.indicators import *  # noqa: F403
