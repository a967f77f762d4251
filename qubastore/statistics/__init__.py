"""Statistics: pure functions over arrays, which know no store."""
