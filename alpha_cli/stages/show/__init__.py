"""Events as readable columns."""
