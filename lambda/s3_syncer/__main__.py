"""Run the command `s3-syncer` as `python -m s3_syncer`."""

from .cli import main

if __name__ == "__main__":  # the other processes of a sweep import this module
    main()
