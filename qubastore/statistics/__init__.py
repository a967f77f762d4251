"""Statistics: pure functions over arrays, independent of the store."""
