"""One file per simulated office. They know the bus's events and their own rules, and nothing of each other."""
