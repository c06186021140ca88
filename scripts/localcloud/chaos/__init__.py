"""`scripts/chaos`: kill workers, break connections and stop stores while the source changes.

The workers are real processes: services, execution environments of the Lambda function, and migrations. They reach the
stores only through proxies, which inject the faults. At the end both buckets must be equal.
"""
