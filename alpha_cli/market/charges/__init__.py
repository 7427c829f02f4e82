"""What trading costs: brokerage, taxes and fees by exchange, product, side and date, from a tariff that is data."""
