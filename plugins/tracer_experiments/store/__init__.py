"""The database of runs: its tables, what writes them and what reads them."""
