"""Derived results: temperatures, ensembles and probes, computed from kept outputs with a recipe that is kept too."""
