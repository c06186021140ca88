"""Converges two buckets: a source on AWS S3 and a target on another S3-compatible store."""

__version__ = "0.1.0"
