"""The engine: arrays in, arrays out. No Spark, no pandas, no I/O."""
