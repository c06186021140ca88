"""`python -m s3_syncer` is the command `s3-syncer`."""

from .cli import main

main()
