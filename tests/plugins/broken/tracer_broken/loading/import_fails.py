"""ZeroDivisionError: of its own"""

raise ZeroDivisionError("of its own")  # named
