"""Tools for developing the project: environments, checks, generated documentation, Terraform."""
