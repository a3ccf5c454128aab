"""Static files under hashed names, those that our scripts import from each other too.

Django can do so for every script it finds (`support_js_module_import_aggregation`), but stumbles over those that
other packages bring along.
"""

from typing import ClassVar

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    patterns: ClassVar = (
        *CompressedManifestStaticFilesStorage.patterns,
        (
            "js/*.js",
            (
                (r"""(?P<matched>from "(?P<url>\./[^"]+)")""", 'from "%(url)s"'),
                (r"""(?P<matched>import "(?P<url>\./[^"]+)")""", 'import "%(url)s"'),
                (r"""(?P<matched>import\("(?P<url>\./[^"]+)"\))""", 'import("%(url)s")'),
            ),
        ),
    )
