"""Files that people write: where they are, how they are read, and what is wrong with them in plain words."""
