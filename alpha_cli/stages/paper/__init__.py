"""`alpha paper`: a simulated broker, from orders to fills and a portfolio."""
