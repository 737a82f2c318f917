"""npbn's speed and memory, measured beside other libraries on the same machine in one run.

    python -m benchmarks --json results.json            measures; twenty minutes
    python -m benchmarks --quick kernels step           measures less; under a minute
    python -m benchmarks.tables results.json            the tables, from the file alone
    python -m benchmarks.against PATH                   beside another checkout of npbn

`kernels`, `steps`, `loops`, `images` and `footprint` say what is measured, `peers` how each library
does it, `results` what the file holds. Of npbn only public names are used.
"""
