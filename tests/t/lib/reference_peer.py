"""Answers requests of 015_reference.pl with the reference implementation; usage: reference_peer.py ROOT < requests.

A request is a line of fields separated by tabs, bytes in hexadecimal; the answer is one line. Key ids refer to keys that
the run has unwrapped before.

    key KEY_ID PURPOSE WRAPPED CHECK_VALUE ROOT_ID              -> "unwrapped", or what does not fit
    open VALUE CONTEXT ROW_ID                                   -> plaintext
    seal KEY_ID TYPE PLAINTEXT CONTEXT ROW_ID                   -> value
    seal_deterministic KEY_ID TYPE PLAINTEXT CONTEXT ROW_ID     -> value
    token KEY_ID VERSION TEXT CONTEXT NORMALIZER BITS           -> token
    dek KEY_ID                                                  -> the data key
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reference"))

import pg_encrypt_reference as reference  # noqa: E402

root = bytes.fromhex(sys.argv[1])
keys = {}
unhex = bytes.fromhex


def key(key_id, purpose, wrapped, check_value, root_id):
    dek = reference.unwrap(root, unhex(wrapped), int(key_id), purpose)
    if reference.kcv(dek, int(key_id), purpose) != unhex(check_value):
        return "check value differs"
    if reference.root_id(root) != root_id:
        return "root id differs"
    keys[int(key_id)] = dek
    return "unwrapped"


def open_value(value, context, row_id):
    value = unhex(value)
    return reference.open_value(keys[reference.parse(value).key_id], value, unhex(context), unhex(row_id)).hex()


def seal(make, key_id, type, plaintext, context, row_id):
    return make(keys[int(key_id)], int(key_id), type, unhex(plaintext), unhex(context), unhex(row_id)).hex()


def token(key_id, version, text, context, normalizer, bits):
    return reference.token(
        keys[int(key_id)], unhex(text).decode(), int(version), unhex(context), normalizer, int(bits)
    ).hex()


ANSWERS = {
    "key": key,
    "open": open_value,
    "seal": lambda *fields: seal(reference.seal_value, *fields),
    "seal_deterministic": lambda *fields: seal(reference.seal_deterministic, *fields),
    "token": token,
    "dek": lambda key_id: keys[int(key_id)].hex(),
}

for line in sys.stdin:
    request, *fields = line.rstrip("\n").split("\t")
    print(ANSWERS[request](*fields))
