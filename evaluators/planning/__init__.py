"""Planning of an ingest: models, datasets, tasks, and the runs and shards that are missing."""
