"""What `bin/up` tells instead of a traceback."""


class UpError(Exception):
    """Something that the person at the terminal has to know; one clear text."""


class WrongSetting(UpError):
    """A setting that cannot be used; the text names it."""
