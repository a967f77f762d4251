"""Ray: resources and nodes, the pool of evaluators, and the scheduler that gives them shards."""
