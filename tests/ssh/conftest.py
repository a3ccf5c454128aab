"""What the tests of SSH hosts stand on."""

from .hosts import account, make_host, proxy, server, silence

__all__ = ["account", "make_host", "proxy", "server", "silence"]
