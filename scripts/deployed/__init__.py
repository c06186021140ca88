"""Commands for an applied module: push the image, run the migration, wait for the queues."""
