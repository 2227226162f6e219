"""Folds and trainings on more than one process: speed-up, overhead, memory, bytes exchanged."""
