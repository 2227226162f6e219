"""The backward sweep, and the rules that it calls."""
