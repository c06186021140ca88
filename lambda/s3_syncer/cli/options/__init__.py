"""Options, and the settings that they become."""
