"""Messages in, dispositions out: the worker for SQS messages and S3 Batch Operations tasks."""
