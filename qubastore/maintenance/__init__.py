"""Maintenance: looking for faults and repairing them, removing what nothing refers to, copying."""
