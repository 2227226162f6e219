"""Runs as figures of matplotlib (extra `plot`)."""
