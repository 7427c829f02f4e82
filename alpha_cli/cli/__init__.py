"""The command line: the table of commands, options that stages share, tables, and `alpha pipe`."""
