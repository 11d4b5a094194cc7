"""Side-by-side runs of the engine and its peers; ``python -m benchmarks`` prints tables of ratios."""
