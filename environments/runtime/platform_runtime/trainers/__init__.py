"""Entries that run a stock trainer from the `config.yaml` of a run folder."""
