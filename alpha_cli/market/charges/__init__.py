"""The charges of trading: brokerage, taxes and fees by exchange, product, side and date, from a dated tariff file."""
