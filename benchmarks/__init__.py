"""Benchmarks of fastmlp: speed, memory and quality, over its history and beside its peers.

`bench_*.py` are run by asv (README.md says how); `python -m benchmarks.panel` prints the README's
table of speedups. All else here is what these two share.
"""
