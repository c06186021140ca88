"""For users, with what they have applied: fill the repository, run the migration. Needs only `pip install .`."""
