"""Ed25519 as RFC 8032 and the cryptography package have it; what could be read in two ways counts for nothing."""

import random

import pytest

from wmctrl.runtime.ed25519 import L, P, verify

VECTORS = (  # RFC 8032, 7.1: public key, message, signature of TEST 1 to 3
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465"
        "5141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb0"
        "0d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc0"
        "27beceea1ec40a",
    ),
)
KEY, MESSAGE, SIGNATURE = (bytes.fromhex(text) for text in VECTORS[2])


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc_verify(key: str, message: str, signature: str) -> None:
    assert verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))


def test_any_changed_bit_is_noticed() -> None:
    generator = random.Random(7)
    for _ in range(40):
        whole = bytearray(KEY + SIGNATURE + MESSAGE)
        bit = generator.randrange(8 * len(whole))
        whole[bit // 8] ^= 1 << bit % 8
        assert not verify(bytes(whole[:32]), bytes(whole[96:]), bytes(whole[32:96]))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_none(length: int) -> None:
    assert not verify(KEY, MESSAGE, (SIGNATURE * 2)[:length])
    assert not verify((KEY * 3)[:length], MESSAGE, SIGNATURE)


def test_a_second_form_of_a_signature_is_none() -> None:
    """S + L signs as S does, and would make two signatures of one."""
    s = int.from_bytes(SIGNATURE[32:], "little")
    assert not verify(KEY, MESSAGE, SIGNATURE[:32] + (s + L).to_bytes(32, "little"))


def test_points_have_one_form() -> None:
    identity, second = (1).to_bytes(32, "little"), (P + 1).to_bytes(32, "little")
    negative = (1 | 1 << 255).to_bytes(32, "little")  # x = 0 has no sign
    zero = bytes(32)
    for point in (second, negative, (P + 3).to_bytes(32, "little"), b"\xff" * 32):
        assert not verify(point, MESSAGE, SIGNATURE)
        assert not verify(KEY, MESSAGE, point + zero)
        assert not verify(identity, MESSAGE, point + zero)


def test_a_key_whose_signatures_anyone_can_make_signs_nothing() -> None:
    """With the neutral point as key, 0 B = R + k A holds for R neutral and any message."""
    neutral = (1).to_bytes(32, "little")
    order_eight = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
    for key in (neutral, bytes(32), (P - 1).to_bytes(32, "little"), order_eight):
        assert not verify(key, MESSAGE, neutral + bytes(32))


def test_the_cryptography_package_agrees() -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    exceptions = pytest.importorskip("cryptography.exceptions")
    generator = random.Random(11)
    for length in (0, 1, 31, 1009):
        private = ed25519.Ed25519PrivateKey.from_private_bytes(generator.randbytes(32))
        public, message = private.public_key().public_bytes_raw(), generator.randbytes(length)
        signature = bytearray(private.sign(message))
        assert verify(public, message, bytes(signature))
        for _ in range(5):
            damaged = signature.copy()
            damaged[generator.randrange(64)] ^= 1 << generator.randrange(8)
            with pytest.raises(exceptions.InvalidSignature):
                private.public_key().verify(bytes(damaged), message)
            assert not verify(public, message, bytes(damaged))
