"""What is observed of a run while it trains, and what it is stopped for."""
