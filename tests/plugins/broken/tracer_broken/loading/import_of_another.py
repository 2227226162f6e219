"""No module named 'not_there_at_all'"""

import not_there_at_all  # named

__all__ = ["not_there_at_all"]
