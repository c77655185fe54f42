"""The overlay `sandbox` in a real cluster: ``python -m tests.k8s``."""
