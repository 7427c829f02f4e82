"""What a strategy author imports: results, histories, indicators, features and models."""
