"""What lets us in: a password or a private key, encrypted at rest, and never seen again from outside."""

import io
import json
from dataclasses import dataclass, field
from typing import Final

import paramiko
from django.utils.translation import gettext as _

from platform_site.common import crypto
from platform_site.common.errors import Invalid

PUBLIC: Final = ("ssh-", "ecdsa-", "sk-", "---- BEGIN SSH2 PUBLIC KEY")


@dataclass(frozen=True)
class Secret:
    """A password, or a private key with its passphrase where it has one."""

    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    passphrase: str = field(default="", repr=False)

    def sealed(self) -> str:
        """For the database."""
        return crypto.encrypt(json.dumps([self.password, self.private_key, self.passphrase]))

    @classmethod
    def opened(cls, sealed: str) -> "Secret":
        """Raises Unavailable when no key of the platform's fits."""
        return cls(*json.loads(crypto.decrypt(sealed)))

    def key(self) -> paramiko.PKey:
        """The private key. Raises Invalid."""
        text = self.private_key.strip().replace("\r\n", "\n") + "\n"
        if text.startswith(PUBLIC):
            told = _("This is the public half of a key. Give the private one: the file without “.pub”.")
            raise Invalid(told, {"private_key": told})
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
            try:
                return kind.from_private_key(io.StringIO(text), self.passphrase or None)
            except paramiko.PasswordRequiredException:
                told = _("The private key has a passphrase: give it too.")
                raise Invalid(told, {"passphrase": told}) from None
            except (paramiko.SSHException, ValueError, IndexError, TypeError):
                continue
        told = _("This is no private key (Ed25519, ECDSA or RSA; OpenSSH or PEM), or its passphrase is wrong.")
        raise Invalid(told, {"private_key": told})
