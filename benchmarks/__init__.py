"""Jackfield beside its peers, on one machine, in one interleaved run: `python -m benchmarks`."""
