"""The stages, one package each, all of one shape; see docs/adding-a-stage.md."""
