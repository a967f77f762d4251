"""Derived results: temperatures, ensembles and probes, computed from kept outputs and stored with their recipe."""
