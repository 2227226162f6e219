"""What users call: tapes, functions of functions, devices."""
