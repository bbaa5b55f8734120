"""Oracle-robust online alignment of language models (arXiv 2602.20457): exact, tested, reproducible.

`rsail.exact` is the NumPy judge of everything else; `rsail.objectives` holds the losses and estimators;
`rsail.training` the online loop; `rsail.study` result files, statistics and figures.
"""

__version__ = "0.1.0"
