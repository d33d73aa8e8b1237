"""Ed25519 signatures (RFC 8032), verified without any package: all that is handled is public, so time may tell it."""

import hashlib

P = 2**255 - 19
"""Order of the field."""
L = 2**252 + 27742317777372353535851937790883648493
"""Order of the base point."""
D = -121665 * pow(121666, -1, P) % P
"""The curve is -x^2 + y^2 = 1 + d x^2 y^2."""
ROOT = pow(2, (P - 1) // 4, P)
"""A square root of -1."""

Point = tuple[int, int, int, int]
"""X, Y, Z, T with x = X/Z, y = Y/Z and x y = T/Z (RFC 8032, 5.1.4)."""
NEUTRAL: Point = (0, 1, 1, 0)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature (64,) of a message is by the owner of a public key (32,).

    Only the canonical encoding of a signature counts, and a key of small order, whose signatures anyone can make, has
    signed nothing.
    """
    if len(public_key) != 32 or len(signature) != 64:
        return False
    A, R = _point(public_key), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if A is None or R is None or s >= L or _encoded(_times(8, A)) == _encoded(NEUTRAL):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    x, y, z, t = A
    return _encoded(_sum_of_multiples(s, BASE, k, (-x, y, z, -t))) == signature[:32]  # s B - k A = R


def _point(encoded: bytes) -> Point | None:
    """The point that 32 bytes stand for, None where they are not the encoding of one (RFC 8032, 5.1.3)."""
    number = int.from_bytes(encoded, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    if y >= P:
        return None
    u, v = y * y - 1, D * y * y + 1
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * ROOT % P
    if v * x * x % P != u % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _encoded(point: Point) -> bytes:
    """The 32 bytes that stand for a point (RFC 8032, 5.1.2)."""
    X, Y, Z, _ = point
    inverse = pow(Z, -1, P)
    x, y = X * inverse % P, Y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _add(first: Point, second: Point) -> Point:
    """The sum of two points (RFC 8032, 5.1.4)."""
    X1, Y1, Z1, T1 = first
    X2, Y2, Z2, T2 = second
    A, B = (Y1 - X1) * (Y2 - X2) % P, (Y1 + X1) * (Y2 + X2) % P
    C, E = 2 * T1 * T2 * D % P, 2 * Z1 * Z2 % P
    return (B - A) * (E - C) % P, (E + C) * (B + A) % P, (E - C) * (E + C) % P, (B - A) * (B + A) % P


def _times(factor: int, point: Point) -> Point:
    """A multiple of a point."""
    return _sum_of_multiples(factor, point, 0, NEUTRAL)


def _sum_of_multiples(a: int, first: Point, b: int, second: Point) -> Point:
    """a first + b second, bit by bit for both at once."""
    terms = {(1, 0): first, (0, 1): second, (1, 1): _add(first, second)}
    total = NEUTRAL
    for bit in reversed(range(max(a.bit_length(), b.bit_length()))):
        total = _add(total, total)
        term = terms.get((a >> bit & 1, b >> bit & 1))
        if term is not None:
            total = _add(total, term)
    return total


def _base() -> Point:
    """The base point, whose y is 4/5 and whose x is even (RFC 8032, 5.1)."""
    point = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    assert point is not None, "the base point lies on the curve"
    return point


BASE = _base()


def public_key(text: str) -> bytes:
    """An Ed25519 public key (32,) from hexadecimal digits.

    Raises:
        ValueError: It is none.
    """
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(f"a public key is 64 hexadecimal digits, came {text!r}")
    return key
