"""`alpha instruments`: load, find and show instruments."""
