"""How far qubastore is from the limit and from what people do today: `make bench` writes RESULTS.md."""
