"""What can go wrong between the platform and a host."""


class TransportError(Exception):
    """The host answered, but refused or failed. The message is for people."""


class Unreachable(TransportError):
    """The host did not answer. A condition, not a verdict: whatever runs there may live on."""
