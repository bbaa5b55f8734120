"""The compendium's claims, each with the check that computes it anew: `python -m rsail.study.claims` writes the tables.

A claim is a row of one of the modules here (`claim.Claim`); `index` puts them in order and shows them.
"""
