"""Where evaluators run: resources, the pool of evaluators, the scheduler that feeds them."""
