"""Every method of the literature on one problem that is solved exactly (notebook 06)."""
