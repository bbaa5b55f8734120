"""The study of wrong oracles: what the radius rho removes and what it keeps, exactly and on a language model."""
