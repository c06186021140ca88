"""The long-running service: receives messages from SQS and reports its health."""
