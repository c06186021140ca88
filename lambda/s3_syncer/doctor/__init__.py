"""Check from any machine if both stores can be used, and what the target can: see `docs/doctor.md`."""

#: The prefix of all runs, below the prefix of the target.
PREFIX = "s3-syncer-doctor/"
