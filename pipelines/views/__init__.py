"""The pages of runs, recipes, pipelines and tasks: parse, authorise, one selector or service, respond."""
