"""What the tests of SSH hosts stand on."""

from .hosts import account, make_host, proxy, remote, root_account, server, silence

__all__ = ["account", "make_host", "proxy", "remote", "root_account", "server", "silence"]
