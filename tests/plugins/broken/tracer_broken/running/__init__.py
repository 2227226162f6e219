"""Plugins that fail at their part. Each begins with what is said of it, and by which command."""
