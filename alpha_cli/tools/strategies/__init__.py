"""`alpha strategies`: the strategies there are, and their configurations in a database."""
