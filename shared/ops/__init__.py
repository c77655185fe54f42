"""What every process needs to be run well: settings, logs, health."""
