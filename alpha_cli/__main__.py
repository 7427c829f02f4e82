"""`python -m alpha_cli` is `alpha`."""

from alpha_cli.cli import main

main()
