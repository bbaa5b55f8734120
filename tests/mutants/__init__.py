"""Does the test suite notice what it must? `python -m tests.mutants` breaks a copy of the project, once per mutant.

`sites` finds every constant and every sign of `rsail.exact`; `formulas`, `algorithms` and `others` are written by hand;
`digits` changes the outputs of notebooks; `copies` runs the tests, `record` keeps what came out.
"""
