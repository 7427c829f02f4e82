"""The controls, small pure functions in modules by concern, and `table`, which says in which order they are asked."""
