"""Checks the reference implementation against the shared vectors: `python3 -m unittest discover -s tests/reference`."""

import hashlib
import json
import pathlib
import unittest

import pg_encrypt_reference as reference

VECTORS = json.loads((pathlib.Path(__file__).parent.parent / "vectors" / "format.json").read_text())
ROOT = bytes.fromhex(VECTORS["root"]["key"])
COLUMN = bytes.fromhex(VECTORS["column_key"]["key"])
INDEX = bytes.fromhex(VECTORS["index_key"]["key"])


class Keys(unittest.TestCase):
    def test_root_id(self):
        self.assertEqual(reference.root_id(ROOT), VECTORS["root"]["root_id"])

    def test_check_values(self):
        for key in (VECTORS["column_key"], VECTORS["index_key"]):
            check_value = reference.kcv(bytes.fromhex(key["key"]), key["key_id"], key["purpose"])
            self.assertEqual(check_value.hex(), key["check_value"])

    def test_wrapping(self):
        for key in (VECTORS["column_key"], VECTORS["index_key"]):
            dek, wrapped = bytes.fromhex(key["key"]), bytes.fromhex(key["wrapped"])
            nonce = bytes.fromhex(key["wrap_nonce"])
            self.assertEqual(reference.wrap(ROOT, dek, key["key_id"], key["purpose"], nonce), wrapped)
            self.assertEqual(reference.unwrap(ROOT, wrapped, key["key_id"], key["purpose"]), dek)
            with self.assertRaises(reference.AuthenticationFailed):
                reference.unwrap(ROOT, wrapped, key["key_id"] + 1, key["purpose"])

    def test_derived_keys(self):
        derive = {
            "value": lambda context: reference.value_key(COLUMN, context),
            "siv": lambda context: reference.siv_key(COLUMN, context),
            "index": lambda context: reference.index_key(INDEX, "equality", context),
        }
        for vector in VECTORS["derived_keys"]:
            with self.subTest(vector["key"], context=vector["context"]):
                self.assertEqual(derive[vector["key"]](vector["context"]).hex(), vector["derived"])


class Values(unittest.TestCase):
    def test_sealing(self):
        for vector in VECTORS["values"]:
            with self.subTest(vector["note"]):
                envelope = reference.seal_value(
                    COLUMN,
                    vector["key_id"],
                    vector["type"],
                    bytes.fromhex(vector["plaintext"]),
                    vector["context"],
                    vector["row_id"],
                    bytes.fromhex(vector["epoch"]),
                    vector["counter"],
                    vector["compressed"],
                )
                self.assertEqual(envelope.hex(), vector["envelope"])

    def test_opening(self):
        for vector in VECTORS["values"] + VECTORS["deterministic"]:
            with self.subTest(vector["note"]):
                envelope, plaintext = bytes.fromhex(vector["envelope"]), bytes.fromhex(vector["plaintext"])
                if vector.get("compressed"):
                    plaintext = reference.decompress(plaintext)
                context, row_id = vector["context"], vector["row_id"]
                self.assertEqual(reference.parse(envelope).type, vector["type"])
                self.assertEqual(reference.open_value(COLUMN, envelope, context, row_id), plaintext)
                for wrong in ((context + "x", row_id), (context, row_id + "x")):
                    with self.assertRaises(reference.AuthenticationFailed):
                        reference.open_value(COLUMN, envelope, *wrong)

    def test_deterministic_sealing(self):
        for vector in VECTORS["deterministic"]:
            with self.subTest(vector["note"]):
                envelope = reference.seal_deterministic(
                    COLUMN,
                    vector["key_id"],
                    vector["type"],
                    bytes.fromhex(vector["plaintext"]),
                    vector["context"],
                    vector["row_id"],
                )
                self.assertEqual(envelope.hex(), vector["envelope"])

    def test_decompression(self):
        for vector in VECTORS["compressed"]:
            plaintext = reference.decompress(bytes.fromhex(vector["compressed"]))
            self.assertEqual(len(plaintext), vector["length"])
            self.assertEqual(hashlib.sha256(plaintext).hexdigest(), vector["plaintext_sha256"])

    def test_typed_values(self):
        for vector in VECTORS["typed_values"]:
            with self.subTest(vector["note"]):
                value, plaintext = bytes.fromhex(vector["value"]), bytes.fromhex(vector["plaintext"])
                token = None
                if vector["token"]:
                    normalizer = vector["normalizer"]
                    token = reference.typed_token(INDEX, vector["type"], plaintext, vector["uuid"], normalizer)
                    self.assertEqual(token.hex(), vector["token"])
                    equal_form = reference.equal_form(vector["type"], plaintext, normalizer)
                    self.assertEqual(equal_form.hex(), vector["normalized"])
                sealed = reference.seal_typed(
                    COLUMN,
                    vector["key_id"],
                    vector["type"],
                    plaintext,
                    vector["type_ref"],
                    vector["uuid"],
                    token,
                    bytes.fromhex(vector["epoch"]),
                    vector["counter"],
                    vector["compressed"],
                )
                self.assertEqual(sealed.hex(), vector["value"])
                self.assertEqual(reference.parse_typed(value).type_ref, vector["type_ref"])
                self.assertEqual(reference.parse_typed(value).token, token)
                original = reference.decompress(plaintext) if vector["compressed"] else plaintext
                self.assertEqual(reference.open_typed(COLUMN, value, vector["uuid"]), original)
                for at in range(2, 22 if token else 6):
                    altered = value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]
                    with self.assertRaises(reference.AuthenticationFailed):
                        reference.open_typed(COLUMN, altered, vector["uuid"])

    def test_malformed_envelopes(self):
        envelope = bytes.fromhex(VECTORS["values"][0]["envelope"])
        malformed = {
            "empty": b"",
            "unknown format": b"\xe4" + envelope[1:],
            "truncated": envelope[:39],
            "unknown type": envelope[:1] + bytes([13 << 3]) + envelope[2:],
            "key id zero": envelope[:2] + bytes(4) + envelope[6:],
            "key id negative": envelope[:2] + b"\xff" + envelope[3:],
        }
        for note, data in malformed.items():
            with self.subTest(note), self.assertRaises(reference.FormatError):
                reference.parse(data)


class BlindIndex(unittest.TestCase):
    def test_normalizers(self):
        for vector in VECTORS["normalized"]:
            with self.subTest(vector["normalizer"], value=vector["value"]):
                normalized = reference.normalize(vector["normalizer"], vector["value"])
                self.assertEqual(normalized, vector["normalized"])
                self.assertEqual(reference.normalize(vector["normalizer"], normalized), normalized)

    def test_tokens(self):
        for vector in VECTORS["tokens"]:
            with self.subTest(vector["value"], normalizer=vector["normalizer"]):
                token = reference.token(
                    INDEX,
                    vector["value"],
                    vector["version"],
                    vector["context"],
                    vector["normalizer"],
                    vector["bits"],
                    vector["kind"],
                )
                self.assertEqual(token.hex(), vector["token"])

    def test_integer_tokens(self):
        for vector in VECTORS["integer_tokens"]:
            with self.subTest(vector["kind"], piece=vector["piece"]):
                token = reference.integer_token(
                    INDEX, vector["kind"], vector["level"], vector["piece"], vector["context"]
                )
                self.assertEqual(str(token), vector["token"])


class Published(unittest.TestCase):
    """C2SP XAES-256-GCM."""

    def test_xaes(self):
        nonce, plaintext = b"ABCDEFGHIJKLMNOPQRSTUVWX", b"XAES-256-GCM"
        vectors = [
            (bytes([1]) * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (bytes([3]) * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ]
        for key, associated_data, sealed in vectors:
            self.assertEqual(reference.xaes_seal(key, nonce, plaintext, associated_data).hex(), sealed)
            self.assertEqual(reference.xaes_open(key, nonce, bytes.fromhex(sealed), associated_data), plaintext)


if __name__ == "__main__":
    unittest.main()
