"""A dry run: the same pipeline, with a site that is only read."""
