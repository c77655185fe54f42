"""The contract between the services: event types, the store that keeps them, and everything computed from them."""
