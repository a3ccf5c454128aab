"""Files that people name on this machine instead of sending them."""

from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.utils.translation import gettext as _

from platform_site.common.errors import Invalid
from platform_site.common.paths import open_inside


def import_folder() -> Path:
    """The one folder that `path` may point into. Whoever may write there may import."""
    return Path(settings.DATA_DIR) / "imports"


def open_path(path: str) -> BinaryIO:
    """Opens a file of the import folder, named by its absolute path or relative to the folder.

    Links are not followed. Raises Invalid, or NotFound.
    """
    root = import_folder()
    if path.startswith("/"):
        try:
            path = str(Path(path).relative_to(root))
        except ValueError:
            problem = _("Only files below %(folder)s can be imported.") % {"folder": root}
            raise Invalid(problem, {"path": problem}) from None
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open_inside(root, path)
