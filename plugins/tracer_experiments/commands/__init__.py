"""`trace-net runs`: what was recorded, listed, compared, drawn and taken elsewhere."""
