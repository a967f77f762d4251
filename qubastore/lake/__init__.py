"""The lakehouse: where a store is, its connection, files, locks, schema, views, and snapshots in memory."""
