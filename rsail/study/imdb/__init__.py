"""Real text: a small model completes sentences of IMDb reviews against an oracle that likes long answers.

    python -m rsail.study.imdb --data FOLDER --output build/imdb --results data/results/imdb

makes everything from the raw reviews: tokenizer and language model, a measurement of the reference, every run of
`rsail.study.imdb.plan`. It can be stopped and started again. `analysis` answers the plan's questions from the result
files alone; notebook 10 shows them.
"""
