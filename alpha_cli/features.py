"""Public door to `alpha_cli.kit.features`, under the name that strategies written before the layout import."""

from alpha_cli.kit.features import *  # noqa: F403
