"""A second, independent implementation of every byte format of pg_encrypt.

It shares no code with the extension and is written from the formulas in the documentation, on top of the `cryptography`
package. Two uses: it checks the test vectors, and it opens values that a server produced (and makes values that a server
must open). It is neither fast nor careful with memory: never use it with keys that protect anything.

    root, dek      32 secret bytes
    context        str or bytes, possibly empty
    row_id         str or bytes, empty for a value that is bound to no row
    purpose        "column" or "index"
"""

import hashlib
import hmac
import os
import struct
import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

FORMAT_XAES = 0xE1
FORMAT_SIV = 0xE2
FORMAT_TYPED = 0xE3

PURPOSES = {"column": 1, "index": 2}
KINDS = {"equality": 1, "ngram": 2, "prefix": 3, "range": 4, "fingerprint": 5}
NORMALIZERS = {"exact": 1, "casefold": 2, "email": 3, "digits": 4}
TYPES = (
    "bytea", "text", "bool", "int", "numeric", "float", "date", "timestamp", "timestamptz", "uuid", "json", "jsonb", "inet",
)


class FormatError(ValueError):
    """The bytes are not what they should be; no key was needed to see it."""


class AuthenticationFailed(ValueError):
    """Wrong key, context or row, or altered bytes."""


def _bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def _expand(key, info, length=32):
    return HKDFExpand(hashes.SHA256(), length, info).derive(key)


def _hmac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


# XAES-256-GCM (C2SP)


def _aes(key, block):
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def _xaes_message_key(key, prefix):
    l = int.from_bytes(_aes(key, bytes(16)), "big")
    k1 = (l << 1) & (2**128 - 1)
    if l >> 127:
        k1 ^= 0x87

    def half(counter):
        block = int.from_bytes(bytes([0, counter, ord("X"), 0]) + prefix, "big")
        return _aes(key, (block ^ k1).to_bytes(16, "big"))

    return half(1) + half(2)


def xaes_seal(key, nonce, plaintext, associated_data):
    """`ciphertext ‖ tag`."""
    return AESGCM(_xaes_message_key(key, nonce[:12])).encrypt(nonce[12:], plaintext, associated_data)


def xaes_open(key, nonce, sealed, associated_data):
    try:
        return AESGCM(_xaes_message_key(key, nonce[:12])).decrypt(nonce[12:], sealed, associated_data)
    except InvalidTag:
        raise AuthenticationFailed("authentication failed") from None


# Keys


def kcv(dek, key_id, purpose):
    """The key check value, 32 bytes."""
    return _hmac(dek, b"pg_encrypt/v1/kcv\0" + struct.pack(">iB", key_id, PURPOSES[purpose]))


def root_id(root):
    """The fingerprint of a local root key, 16 hexadecimal digits."""
    return _hmac(root, b"pg_encrypt/v1/root-id")[:8].hex()


def wrap_associated_data(key_id, purpose):
    return b"pg_encrypt/v1/wrap\0" + struct.pack(">iB", key_id, PURPOSES[purpose])


def wrap(root, dek, key_id, purpose, nonce=None):
    """Wraps a data key under a local root key, 73 bytes."""
    nonce = nonce or os.urandom(24)
    key = _expand(root, b"pg_encrypt/v1/wrap")
    return b"\x01" + nonce + xaes_seal(key, nonce, dek, wrap_associated_data(key_id, purpose))


def unwrap(root, wrapped, key_id, purpose):
    """The data key that a local root key wrapped."""
    if wrapped[:1] != b"\x01":
        raise FormatError("not wrapped by a local root key")
    if len(wrapped) != 73:
        raise FormatError(f"wrapped key has {len(wrapped)} bytes instead of 73")
    key = _expand(root, b"pg_encrypt/v1/wrap")
    return xaes_open(key, wrapped[1:25], wrapped[25:], wrap_associated_data(key_id, purpose))


def value_key(dek, context=""):
    return _expand(dek, b"pg_encrypt/v1/value\0" + _bytes(context))


def siv_key(dek, context=""):
    return _expand(dek, b"pg_encrypt/v1/siv\0" + _bytes(context), 64)


def index_key(dek, kind, context=""):
    return _expand(dek, b"pg_encrypt/v1/index\0" + bytes([KINDS[kind]]) + _bytes(context))


# Envelopes


@dataclass(frozen=True)
class Envelope:
    """A taken-apart envelope; `epoch` and `counter` are None for a deterministic value."""

    deterministic: bool
    type: str
    row_bound: bool
    has_context: bool
    compressed: bool
    key_id: int
    header: bytes
    epoch: bytes | None
    counter: int | None
    ciphertext: bytes
    tag: bytes


def parse(envelope):
    envelope = bytes(envelope)
    if not envelope:
        raise FormatError("empty")
    minimum = {FORMAT_XAES: 40, FORMAT_SIV: 22}.get(envelope[0])
    if minimum is None:
        raise FormatError(f"unknown format 0x{envelope[0]:02x}")
    if len(envelope) < minimum:
        raise FormatError(f"truncated: {len(envelope)} of at least {minimum} bytes")
    flags, key_id = struct.unpack(">Bi", envelope[1:6])
    if flags >> 3 >= len(TYPES):
        raise FormatError(f"unknown type {flags >> 3}")
    if key_id <= 0:
        raise FormatError(f"invalid key id {key_id}")
    deterministic = envelope[0] == FORMAT_SIV
    return Envelope(
        deterministic=deterministic,
        type=TYPES[flags >> 3],
        row_bound=bool(flags & 4),
        has_context=bool(flags & 2),
        compressed=bool(flags & 1),
        key_id=key_id,
        header=envelope[:6],
        epoch=None if deterministic else envelope[6:22],
        counter=None if deterministic else int.from_bytes(envelope[22:24], "big"),
        ciphertext=envelope[22:] if deterministic else envelope[24:-16],
        tag=envelope[6:22] if deterministic else envelope[-16:],
    )


def _header(format, type, row_id, context, compressed, key_id):
    flags = TYPES.index(type) << 3 | bool(row_id) << 2 | bool(context) << 1 | compressed
    return struct.pack(">BBi", format, flags, key_id)


def seal_value(dek, key_id, type, plaintext, context="", row_id="", epoch=None, counter=0, compressed=False):
    """An envelope 0xE1. `compressed` says that the plaintext already is `u32 length ‖ LZ4 block`."""
    header = _header(FORMAT_XAES, type, row_id, context, compressed, key_id)
    epoch = epoch or os.urandom(16)
    n = struct.pack(">H", counter)
    key = value_key(dek, context)
    return header + epoch + n + xaes_seal(key, epoch + bytes(6) + n, _bytes(plaintext), header + _bytes(row_id))


def seal_deterministic(dek, key_id, type, plaintext, context="", row_id=""):
    """An envelope 0xE2."""
    header = _header(FORMAT_SIV, type, row_id, context, False, key_id)
    return header + AESSIV(siv_key(dek, context)).encrypt(_bytes(plaintext), [header + _bytes(row_id)])


def open_value(dek, envelope, context="", row_id=""):
    """The plaintext of an envelope 0xE1 or 0xE2, decompressed."""
    parts = parse(envelope)
    associated_data = parts.header + _bytes(row_id)
    if parts.deterministic:
        try:
            cipher = AESSIV(siv_key(dek, context))
            plaintext = cipher.decrypt(parts.tag + parts.ciphertext, [associated_data])
        except InvalidTag:
            raise AuthenticationFailed("authentication failed") from None
    else:
        nonce = parts.epoch + bytes(6) + struct.pack(">H", parts.counter)
        plaintext = xaes_open(value_key(dek, context), nonce, parts.ciphertext + parts.tag, associated_data)
    return decompress(plaintext) if parts.compressed else plaintext


def decompress(compressed):
    """The original of `u32 original length ‖ LZ4 block`."""
    length, block = int.from_bytes(compressed[:4], "big"), compressed[4:]
    out, at = bytearray(), 0

    def extended(nibble):
        nonlocal at
        total = nibble
        while nibble == 15:
            total, at = total + block[at], at + 1
            if block[at - 1] != 255:
                break
        return total

    while True:
        token, at = block[at], at + 1
        literals = extended(token >> 4)
        out += block[at:at + literals]
        at += literals
        if at == len(block):
            break
        offset, at = block[at] | block[at + 1] << 8, at + 2
        if not 0 < offset <= len(out):
            raise FormatError("LZ4 offset out of range")
        for _ in range(extended(token & 15) + 4):
            out.append(out[-offset])
    if len(out) != length:
        raise FormatError(f"{len(out)} bytes instead of {length}")
    return bytes(out)


def encode(type, value):
    """The plaintext bytes of a value: what a server seals for it. Text forms are the caller's."""
    if type == "bytea":
        return bytes(value)
    if type == "bool":
        return bytes([value])
    if type in ("int", "timestamp", "timestamptz"):
        return struct.pack(">q", value)
    if type == "float":
        return struct.pack(">d", value)
    if type == "date":
        return struct.pack(">i", value)
    if type == "uuid":
        return value.bytes
    return _bytes(value)


# Blind index

# Property White_Space, complete and stable. (str.strip() would also take U+001C to U+001F.)
_WHITE_SPACE = "".join(map(chr, [*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]))

# Property Default_Ignorable_Code_Point.
_IGNORABLE = frozenset(
    code
    for first, last in [
        (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F),
        (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
        (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    ]
    for code in range(first, last + 1)
)


def _nfkc_casefold(character):
    current = character
    while True:
        folded = unicodedata.normalize("NFKD", current.casefold())
        folded = "".join(c for c in folded if ord(c) not in _IGNORABLE)
        if folded == current:
            return folded
        current = folded


def casefold(value):
    """trim(toNFKC_Casefold(NFD(trim(value)))), with the tables of this Python's `unicodedata`."""
    decomposed = unicodedata.normalize("NFD", value.strip(_WHITE_SPACE))
    mapped = "".join(map(_nfkc_casefold, decomposed))
    return unicodedata.normalize("NFC", mapped).strip(_WHITE_SPACE)


def normalize(normalizer, value):
    if normalizer == "exact":
        return value
    if normalizer == "casefold":
        return casefold(value)
    if normalizer == "email":
        local, at, domain = casefold(value).rpartition("@")
        return local.rstrip(_WHITE_SPACE) + at + domain.lstrip(_WHITE_SPACE)
    if normalizer == "digits":
        return "".join(c for c in value if c in "0123456789")
    raise ValueError(f"unknown normalizer {normalizer}")


def token(dek, value, version=1, context="", normalizer="casefold", bits=128, kind="equality"):
    """The blind-index token of a value, `bits / 8` bytes."""
    message = bytes([NORMALIZERS[normalizer]]) + _bytes(normalize(normalizer, value))
    return bytes([version % 256]) + _hmac(index_key(dek, kind, context), message)[: bits // 8 - 1]


def integer_token(dek, kind, level, piece, context=""):
    """The token of one piece of a value as a signed 64-bit integer."""
    mac = _hmac(index_key(dek, kind, context), struct.pack(">H", level) + _bytes(piece))
    return int.from_bytes(mac[:8], "big", signed=True)


# Values of the encrypted types


@dataclass(frozen=True)
class TypedValue:
    type_ref: int
    token: bytes | None
    envelope: bytes
    row_id: bytes


def parse_typed(value):
    """A value 0xE3: the bytes before the envelope are its row id."""
    value = bytes(value)
    if len(value) < 6 or value[0] != FORMAT_TYPED or value[1] & ~1:
        raise FormatError("not a value of an encrypted type")
    at = 22 if value[1] & 1 else 6
    return TypedValue(
        type_ref=int.from_bytes(value[2:6], "big", signed=True),
        token=value[6:22] if value[1] & 1 else None,
        envelope=value[at:],
        row_id=value[:at],
    )


def equal_form(type, plaintext, normalizer="exact"):
    """The bytes that a type's token is made of: equal exactly for plaintexts that the base type has equal."""
    if type == "text":
        return _bytes(normalize(normalizer, plaintext.decode()))
    if type == "numeric" and b"." in plaintext:
        return plaintext.rstrip(b"0").removesuffix(b".")
    if type == "float":
        (number,) = struct.unpack(">d", plaintext)
        return bytes(8) if number == 0 else bytes.fromhex("7ff8000000000000") if number != number else plaintext
    return plaintext


def seal_typed(dek, key_id, type, plaintext, type_ref, type_uuid, token=None, epoch=None, counter=0, compressed=False):
    """A value 0xE3."""
    head = struct.pack(">BBi", FORMAT_TYPED, token is not None, type_ref) + (token or b"")
    return head + seal_value(dek, key_id, type, plaintext, type_uuid, head, epoch, counter, compressed)


def typed_token(dek, type, plaintext, type_uuid, normalizer="exact", version=1):
    """The token that a value of a searchable type carries, 16 bytes."""
    message = bytes([NORMALIZERS[normalizer]]) + equal_form(type, plaintext, normalizer)
    return bytes([version % 256]) + _hmac(index_key(dek, "equality", type_uuid), message)[:15]


def open_typed(dek, value, type_uuid):
    """The plaintext of a value of an encrypted type whose context is the type's UUID, as text."""
    typed = parse_typed(value)
    return open_value(dek, typed.envelope, context=type_uuid, row_id=typed.row_id)
