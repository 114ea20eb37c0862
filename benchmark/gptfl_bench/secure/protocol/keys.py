"""Secrets of a client, secrets of a pair of clients, and boxes only one of them can open."""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gptfl_bench.core.randomness import Name, address_seed
from gptfl_bench.secure.protocol.errors import ForgedShareError, MalformedKeyError

BYTES = 32
"""Length of every key, seed and secret."""

SEAL_BYTES = 16
"""What sealing adds to a text: its tag."""

_NONCE = bytes(12)
"""Never changes: a sealing key depends on session, sender and receiver, and seals one text."""


def simulated_secret(seed: int, *names: Name) -> bytes:
    """Return 32 bytes at an address, in place of a client's own randomness.

    This is what makes a run reproducible, and what makes it a simulation: whoever knows the seed
    knows all secrets. In a deployment each client draws them from its operating system.
    """
    parts = (address_seed(seed, *names, "part", part).to_bytes(8, "big") for part in range(8))
    return hashlib.sha256(b"".join(parts)).digest()


def derive(secret: bytes, purpose: str) -> bytes:
    """Return a 32-byte key for one purpose (HKDF with SHA-256, RFC 5869)."""
    return HKDF(SHA256(), BYTES, salt=None, info=purpose.encode()).derive(secret)


class KeyPair:
    """An X25519 key pair (RFC 7748).

    Attributes:
        private: 32 secret bytes.
        public: 32 bytes for others.
    """

    def __init__(self, private: bytes) -> None:
        self.private = private
        self._key = X25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes, purpose: str) -> bytes:
        """Return the 32-byte key shared with the owner of another pair, for one purpose.

        Raises:
            MalformedKeyError: If the public key yields the same secret with every private key.
        """
        try:
            secret = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise MalformedKeyError("a public key is of low order") from error
        return derive(secret, purpose)


def seal(key: bytes, text: bytes) -> bytes:
    """Return a text encrypted and authenticated (AES-256-GCM); one text for each key."""
    return AESGCM(key).encrypt(_NONCE, text, None)


def unseal(key: bytes, sealed: bytes) -> bytes:
    """Return the text that was sealed with ``key``.

    Raises:
        ForgedShareError: If it was sealed with another key, or changed since.
    """
    try:
        return AESGCM(key).decrypt(_NONCE, sealed, None)
    except InvalidTag as error:
        raise ForgedShareError("a sealed share was changed or is not for this client") from error
