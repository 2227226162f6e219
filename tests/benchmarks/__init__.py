"""Benchmarks: `python -m tests.benchmarks` measures and prints tables, beside installed peers."""

import os

# Everybody has two threads, or as many as are asked for; NumPy's linear algebra reads these when
# it is first imported.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = os.environ.get("BENCHMARK_THREADS", "2")
