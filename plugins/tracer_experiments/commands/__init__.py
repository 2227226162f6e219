"""The commands, one file for each. What they call is imported when they run."""
