"""What runs for ever beside the workers: the scheduler and the watcher. Each in its own process, or as a thread."""
