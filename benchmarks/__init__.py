"""npbn's speed and memory, measured beside other libraries on the same machine in one run.

    python -m benchmarks --json results.json            measures; minutes
    python -m benchmarks --quick kernels step           measures less; under a minute
    python -m benchmarks.tables results.json            the tables, from the file alone
    python -m benchmarks.tables results.json --figure docs/benchmark.png

Measuring (`groups`, with `peers` to compare with) and reporting (`tables`, `bounds`, `figure`) know
nothing of each other but the file's form, which is in `results`.
"""
