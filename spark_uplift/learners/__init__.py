"""pyspark.ml estimators, models and evaluators."""
