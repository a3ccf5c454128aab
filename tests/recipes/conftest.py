"""An installation with what it starts with."""

import shutil

import pytest

from datasets.services import store
from pipelines.services.builtin import install


@pytest.fixture
def installed(db):
    yield install()
    shutil.rmtree(store.root(), ignore_errors=True)
