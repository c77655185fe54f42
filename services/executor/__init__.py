"""Does the work on the site, a chunk at a time. Any number of replicas."""
