"""What is wrong with a run, from its metrics. Pure: `core` is the vocabulary, `rules/` has one module a rule,
`engine` reads steps with them, `health` says what it all comes to."""
