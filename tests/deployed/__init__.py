"""What the tests of containers and of a cluster have in common."""
