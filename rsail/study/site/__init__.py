"""The compendium as a static site: notebooks as committed, README, REPRODUCING and an API reference.

    python -m rsail.study.site --output build/site

Nothing is run and nothing is loaded from a network, neither while building nor while reading: equations are
MathML, pictures and styles are files of the site.
"""
