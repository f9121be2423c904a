# SPDX-License-Identifier: EUPL-1.2
"""HPKE (RFC 9180): base mode, single shot, HKDF-SHA256, AES-256-GCM; with X25519 or with X-Wing
(draft-connolly-cfrg-xwing-kem); and the padded form of what is sealed. Written from the
specifications, for client.py."""

import hashlib
import hmac
import os

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from proofs import check

KDF, AEAD = 0x0001, 0x0002
X25519, X_WING = 0x0020, 0x647A
KEY_LENGTH, NONCE_LENGTH = 32, 12


def _extract(suite, salt, label, ikm):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite, prk, label, info, length):
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + labelled + bytes([counter]), "sha256")
        out, counter = out + block, counter + 1
    return out[:length]


class DhX25519:
    """DHKEM(X25519, HKDF-SHA256), RFC 9180 § 4.1."""

    id = X25519

    @staticmethod
    def _secret(dh, enc, public):
        suite = b"KEM" + X25519.to_bytes(2, "big")
        prk = _extract(suite, b"", b"eae_prk", dh)
        return _expand(suite, prk, b"shared_secret", enc + public, 32)

    @classmethod
    def encapsulate(cls, public):
        ephemeral = X25519PrivateKey.generate()
        dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
        enc = ephemeral.public_key().public_bytes_raw()
        return cls._secret(dh, enc, public), enc

    def __init__(self, seed=None):
        self._key = X25519PrivateKey.from_private_bytes(seed or os.urandom(32))
        self.public = self._key.public_key().public_bytes_raw()

    def decapsulate(self, enc):
        dh = self._key.exchange(X25519PublicKey.from_public_bytes(enc))
        return self._secret(dh, enc, self.public)


class XWing:
    """X25519 and ML-KEM-768 together: secret for as long as one of them holds."""

    id = X_WING
    _LABEL = b"\\.//^\\"

    @classmethod
    def _secret(cls, ml, dh, ct, pk):
        return hashlib.sha3_256(ml + dh + ct + pk + cls._LABEL).digest()

    @classmethod
    def encapsulate(cls, public):
        assert len(public) == 1184 + 32, "an X-Wing key has 1216 bytes"
        pk_ml, pk_x = public[:1184], public[1184:]
        ss_ml, ct_ml = MLKEM768PublicKey.from_public_bytes(pk_ml).encapsulate()
        ephemeral = X25519PrivateKey.generate()
        ct_x = ephemeral.public_key().public_bytes_raw()
        ss_x = ephemeral.exchange(X25519PublicKey.from_public_bytes(pk_x))
        return cls._secret(ss_ml, ss_x, ct_x, pk_x), ct_ml + ct_x

    def __init__(self, seed=None):
        expanded = hashlib.shake_256(seed or os.urandom(32)).digest(96)
        self._ml = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self._x = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._pk_x = self._x.public_key().public_bytes_raw()
        self.public = self._ml.public_key().public_bytes_raw() + self._pk_x

    def decapsulate(self, enc):
        assert len(enc) == 1088 + 32, "an X-Wing ciphertext has 1120 bytes"
        ct_ml, ct_x = enc[:1088], enc[1088:]
        ss_x = self._x.exchange(X25519PublicKey.from_public_bytes(ct_x))
        return self._secret(self._ml.decapsulate(ct_ml), ss_x, ct_x, self._pk_x)


def _schedule(kem, secret, info):
    """Key and nonce of the first and only message (RFC 9180 § 5.1)."""
    suite = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (kem, KDF, AEAD))
    psk_id = _extract(suite, b"", b"psk_id_hash", b"")
    context = b"\x00" + psk_id + _extract(suite, b"", b"info_hash", info)
    prk = _extract(suite, secret, b"secret", b"")
    key = _expand(suite, prk, b"key", context, KEY_LENGTH)
    return key, _expand(suite, prk, b"base_nonce", context, NONCE_LENGTH)


def seal(kem, public, info, aad, plain):
    """Seals to a public key: the encapsulated key and the ciphertext."""
    secret, enc = kem.encapsulate(public)
    key, nonce = _schedule(kem.id, secret, info)
    return enc, AESGCM(key).encrypt(nonce, plain, aad)


def open_sealed(private, enc, info, aad, ciphertext):
    """Opens; raises where anything was changed."""
    key, nonce = _schedule(private.id, private.decapsulate(enc), info)
    return AESGCM(key).decrypt(nonce, ciphertext, aad)


def pad(message, size):
    """Salt, length, message, zeros."""
    check(len(message) + 36 <= size, "the message is too long")
    plain = os.urandom(32) + len(message).to_bytes(4, "big") + message
    return plain + bytes(size - len(plain))


def unpad(plain, size):
    """The message, if the plain text has the one form and the one size."""
    check(len(plain) == size, "the plain text has another size than its type")
    end = 36 + int.from_bytes(plain[32:36], "big")
    check(end <= size and not any(plain[end:]), "the padding is not zero")
    return plain[36:end]
