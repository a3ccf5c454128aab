"""A project, a host and an empty store."""

import shutil

import pytest

from datasets.models import Dataset
from datasets.services import store
from environments.models import Host
from platform_site.common.models import Project


@pytest.fixture
def project(db):
    yield Project.objects.create(slug="default", name="Default")
    shutil.rmtree(store.root(), ignore_errors=True)


@pytest.fixture
def dataset(project):
    return Dataset.objects.create(project=project, slug="sums", name="Sums", kind="sft")


@pytest.fixture
def host(project, settings):
    return Host.objects.create(project=project, name="local", root=str(settings.DATA_DIR))
