"""The workers: they execute the jobs."""
