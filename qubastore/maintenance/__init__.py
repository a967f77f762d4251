"""Maintenance: finding and repairing faults, removing unreferenced files, copying stores."""
