"""What every app may point at: people, projects and their traces."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _


class User(AbstractUser):
    """A person or a robot that signs in. Roles are groups: viewer, operator, admin."""


class Project(models.Model):
    """The unit of ownership. Selectors take a user and answer with the projects they may see."""

    slug = models.SlugField(_("slug"), max_length=63, unique=True)
    name = models.CharField(_("name"), max_length=200)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name
