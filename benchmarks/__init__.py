"""facula timed against PyTorch: `python -m benchmarks` (see `--help`; the results stand in docs/benchmarks.md).

The two run in turn, each in processes of its own and with the same number of threads, in several rounds; the minimum of
each workload counts, and what is reported is its ratio, PyTorch's time divided by facula's: over 1, facula is faster.

    workloads/   what is timed: ordinary torch programs, a file a group
    programs/    whole programs whose start is timed
    worker.py    one process: one framework runs a list of workloads
    compare.py   the rounds, and what they add up to
    startup.py   import, first step, memory, size on disk, the digits example
    report.py    the table
"""
