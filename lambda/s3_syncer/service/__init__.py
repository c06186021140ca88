"""The long-running ECS service that receives messages from SQS itself."""
