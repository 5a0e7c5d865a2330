"""A laboratory for strategies: a frozen network's features are kept, so that a training to convergence takes seconds.

See README.md; `python -m benchmarks.strategy_lab --help`.
"""
