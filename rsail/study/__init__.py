"""Result files, statistics, figures and the running of notebooks; needs a checkout of the compendium."""
