"""Check from any machine if both stores can be used, and what the target can: see `docs/doctor.md`."""
