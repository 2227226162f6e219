"""Sweeps: trainings that differ in some settings, which go on where they stopped."""
