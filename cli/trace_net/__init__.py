"""The command `trace-net`: draws, sums up and checks a model that is written in a Python file."""
