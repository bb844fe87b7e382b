"""Metrics: sensors in the worker, one a file."""
