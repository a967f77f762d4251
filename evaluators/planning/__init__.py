"""What is to be run: models, datasets, tasks and the plan of an ingest."""
