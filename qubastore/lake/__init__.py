"""The lakehouse: location, connection, data files, locks, schema, views and in-memory snapshots of a store."""
