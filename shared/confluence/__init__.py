"""Both sides of a move: sources (REST, exports), the Cloud site, and the rewriting of page bodies."""
