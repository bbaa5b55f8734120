"""Benchmarks against other trainers, which the package itself does not need."""
