"""Mutation testing with mutmut: which of its changes to `rsail.exact` and `rsail.objectives` the tests notice.

mutmut is no part of the locked environment (`pip install 'rsail[mutation]'`, or `make mutation-score`); reading and
showing the record needs none.
"""
