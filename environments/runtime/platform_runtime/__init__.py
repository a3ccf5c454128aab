"""The training side of the platform: stdlib only, except for what stands in `trainers` and beside verl."""
