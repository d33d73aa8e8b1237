"""Signing a bundle: an Ed25519 signature over its manifest, which names every other file by its hash."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.files import write_atomic


def read_key(path: Path) -> Ed25519PrivateKey:
    """A private key in a PEM file without a password, as `openssl genpkey -algorithm ed25519` writes one.

    Raises:
        ValueError: It is no such file.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # of other files, of a password, of other kinds of keys
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(
            f"{path} must hold an Ed25519 private key in PEM, without a password; make one with"
            " `openssl genpkey -algorithm ed25519 -out KEY.pem`"
        )
    return key


def sign(folder: Path, key: Ed25519PrivateKey) -> bytes:
    """Write a bundle's signature beside its manifest; the public key (32,) that it is verified with."""
    write_atomic(folder / bundle.SIGNATURE, key.sign((folder / manifest.NAME).read_bytes()))
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
