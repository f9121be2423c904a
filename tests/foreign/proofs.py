# SPDX-License-Identifier: EUPL-1.2
"""What is verified, not believed: DSSE envelopes, RFC 6962 trees, C2SP signed notes. Written from
the specifications, for client.py."""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    """Something does not hold."""


def check(holds, what):
    if not holds:
        raise Refused(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# --- Keys and DSSE -------------------------------------------------------------------------------

ALGORITHMS = {"ed25519": 1, "ecdsa-p256": 2}


def key_of(text):
    """A key as it stands in a signed document: its algorithm and its bytes."""
    return text["algorithm"], base64.b64decode(text["key"], validate=True)


def key_id(key):
    return sha256(bytes([ALGORITHMS[key[0]]]), key[1]).hex()[:32]


def verifies(key, message, signature):
    algorithm, raw = key
    try:
        if algorithm == "ed25519":
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
        else:
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
            point.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def pae(payload_type, payload):
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def signers(envelope, thing, form, keys):
    """The distinct keys that signed this envelope as this thing."""
    kind = f"application/vnd.einmal.{thing}.v1+{form}"
    check(envelope.payload_type == kind, f"not a {thing}")
    check(len(envelope.signatures) <= 16, "too many signatures")
    message = pae(kind, envelope.payload)
    return {
        key
        for key in keys
        for signature in envelope.signatures
        if signature.key_id in ("", key_id(key)) and verifies(key, message, signature.signature)
    }


def payload(envelope, thing, form, keys):
    """The payload, if one of the keys signed it."""
    check(signers(envelope, thing, form, keys), f"the {thing} is not signed by its signer")
    return envelope.payload


# --- RFC 6962 ------------------------------------------------------------------------------------


def leaf_hash(leaf):
    return sha256(b"\x00", leaf)


def node_hash(left, right):
    return sha256(b"\x01", left, right)


def tree_root(leaves):
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(tree_root(leaves[:middle]), tree_root(leaves[middle:]))


def tree_path(leaves, index):
    """Inclusion path, leaf sibling first."""
    if len(leaves) == 1:
        return []
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    if index < middle:
        return tree_path(leaves[:middle], index) + [tree_root(leaves[middle:])]
    return tree_path(leaves[middle:], index - middle) + [tree_root(leaves[:middle])]


def check_inclusion(leaf, index, size, path, root):
    """RFC 9162 § 2.1.3.2."""
    check(index < size, "the index lies outside the tree")
    fn, sn, r = index, size - 1, leaf_hash(leaf)
    for p in path:
        check(sn != 0, "the path is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    check(sn == 0 and r == root, "the path does not lead to the root")


def check_consistency(first, first_root, second, second_root, path):
    """RFC 9162 § 2.1.4.2."""
    if first == second:
        check(first_root == second_root and not path, "two trees of one size")
        return
    check(0 < first < second and path, "no consistency proof")
    path = list(path)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        check(sn != 0, "the proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    check(sn == 0 and fr == first_root and sr == second_root, "the ledger was changed")


# --- Signed notes --------------------------------------------------------------------------------


def checkpoint(note, vkey):
    """Size and root of a checkpoint that this verifier key (name+hash+key) signed."""
    name, key_hash, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    check(key[:1] == b"\x01", "not an Ed25519 ledger key")
    check(sha256(name.encode(), b"\n", key)[:4].hex() == key_hash, "the key's hash does not fit")
    text, gap, signatures = note.rpartition("\n\n")
    check(gap and signatures.endswith("\n"), "not a signed note")
    text += "\n"
    origin, size, root = text.splitlines()[:3]
    check(origin == name and str(int(size)) == size, "another ledger's checkpoint")
    wanted = f"— {name} "
    lines = [line[len(wanted) :] for line in signatures.splitlines() if line.startswith(wanted)]
    signed = [base64.b64decode(line, validate=True) for line in lines]
    signed = [blob[4:] for blob in signed if blob[:4].hex() == key_hash]
    check(signed, "the ledger did not sign")
    for signature in signed:
        check(verifies(("ed25519", key[1:]), text.encode(), signature), "a forged checkpoint")
    return int(size), base64.b64decode(root, validate=True)
