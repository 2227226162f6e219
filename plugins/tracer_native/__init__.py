"""Compiled kernels for NumPy's arrays on CPUs: C++ in `source/`, built when it is asked for."""
