"""Public door to `alpha_cli.kit.models`, under the name that strategies written before the layout import."""

from alpha_cli.kit.models import *  # noqa: F403
