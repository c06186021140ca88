"""`python -m s3_syncer` is the command `s3-syncer`."""

from .cli import main

if __name__ == "__main__":  # the processes of a sweep import this too
    main()
