"""REST of pipelines, jobs, tasks and recipes."""
