"""Measuring: worker processes, turns, series, and what the machine did meanwhile."""
