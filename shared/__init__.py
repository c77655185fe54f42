"""What the services share: the contract of events, and both sides of a move."""
