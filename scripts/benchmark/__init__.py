"""`scripts/bench`: how fast this is, beside what else can do the job, on this machine."""
