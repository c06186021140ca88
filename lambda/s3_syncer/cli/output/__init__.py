"""Results of the commands: counted, printed, written and uploaded."""
