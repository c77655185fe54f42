"""One module for each thing a chunk can do. Each takes a job and ends its chunk."""
