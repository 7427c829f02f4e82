"""The stages of a pipeline in one process."""
