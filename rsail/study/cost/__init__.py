"""What an online step costs: phases against their floors, settings, sizes, cores, and the exact engine's growth.

    python -m rsail bench --output data/results/cost

measures all of it and writes one result file each, which notebook 10 reads. The race against another trainer needs that
trainer and lives in ``tests/benchmarks``.
"""
