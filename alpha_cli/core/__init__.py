"""The words of the system: events and their codec, errors, times, ids, money, the ledger and order states.

Nothing here reads, writes or imports the command line."""
