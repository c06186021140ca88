"""`scripts/bench`: measure s3-syncer beside other S3 clients on this machine."""
