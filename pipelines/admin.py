"""What Django's admin shows of this app, topic by topic."""

from . import admin_queues, admin_recipes

__all__ = ["admin_queues", "admin_recipes"]
