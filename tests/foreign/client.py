# SPDX-License-Identifier: EUPL-1.2
"""A foreign client: talks to a broker from the published .proto files alone.

It shares no code with Einmal. The messages are compiled at run time; sealing (hpke.py) and proofs
(proofs.py) are written from their specifications. It believes nothing but the pinned root.

    client.py --world FOLDER [--proto FOLDER]

FOLDER is what `einmal demo --folder FOLDER` made, while that demo runs. Prints one JSON object of
what was done; any step that does not hold ends it with a traceback and exit code 1.
"""

import argparse
import base64
import json
import os
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from grpc_tools import protoc

import hpke
import proofs
from proofs import Refused, check, sha256

PERSON_SIZE, ASKED_SIZE, USE_SIZE = 1024, 1024, 128
DAY_MS = 86_400_000
MESSAGE_MAX = 64 * 1024 * 1024
ASKS = [
    (
        "marriage-certificate",
        ["family_name", "marriage_status", "married_on", "registration_number", "spouse_name"],
        "X_WING",
    ),
    ("pay-data", ["employed_since", "employer", "months", "weekly_hours"], "X25519"),
    ("wage-tax-data", ["church_tax_liable", "tax_class", "valid_from"], "X_WING"),
]


def now_ms():
    return time.time_ns() // 1_000_000


def compile_protos(source, target):
    """Compiles the published .proto files into a folder that Python then imports from."""
    files = sorted(str(path.relative_to(source)) for path in source.rglob("*.proto"))
    arguments = ["protoc", f"-I{source}", f"--python_out={target}", f"--grpc_python_out={target}"]
    check(protoc.main(arguments + files) == 0, "the .proto files do not compile")
    sys.path.insert(0, str(target))


def request_id():
    """A UUIDv7 (RFC 9562)."""
    random = bytearray(os.urandom(10))
    random[0] = 0x70 | random[0] & 0x0F
    random[2] = 0x80 | random[2] & 0x3F
    return now_ms().to_bytes(6, "big") + bytes(random)


def aad_before_request(identifier, authority, register, ledger):
    parts = [identifier, authority.encode(), register.encode(), ledger.encode()]
    lengths_first = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    # The id begins with the time: 48 bits of milliseconds.
    return lengths_first + bytes(2) + identifier[:6]


def aad_of_request(digest, slot=0):
    return digest + slot.to_bytes(4, "big")


def identity_key(pem):
    """An Ed25519 key in PKCS#8. The form with the public key in it (RFC 5958, version 2), which
    Einmal writes, is not read by OpenSSL; so the seed is taken from where RFC 8410 has it."""
    der = base64.b64decode("".join(pem.strip().splitlines()[1:-1]), validate=True)
    check(der[5:16] == bytes.fromhex("300506032b657004220420"), "not an Ed25519 key in PKCS#8")
    return Ed25519PrivateKey.from_private_bytes(der[16:48])


class World:
    """The configuration of a client, as `client.toml` says it, and the person to ask about."""

    def __init__(self, folder):
        with open(folder / "client.toml", "rb") as file:
            config = tomllib.load(file)
        with open(folder / "person.toml", "rb") as file:
            self.person = tomllib.load(file)
        self.authority = config["authority"]
        self.pinned = (folder / config["root"]).read_bytes()
        self.identity = identity_key((folder / config["identity"]).read_text())
        self.public = ("ed25519", self.identity.public_key().public_bytes_raw())
        self.broker = config["broker"].removeprefix("https://")
        names = ("authorities", "key", "certificate")
        self.tls = [(folder / config["tls"][name]).read_bytes() for name in names]

    def channel(self):
        """mTLS: our certificate, and the broker's must be under the world's authority."""
        credentials = grpc.ssl_channel_credentials(*self.tls)
        options = [("grpc.max_receive_message_length", MESSAGE_MAX)]
        return grpc.secure_channel(self.broker, credentials, options)


class Trust:
    """Rules and directory, verified from the pinned root."""

    def __init__(self, pb, pinned, answer):
        root = self._root(None, pb.envelope.Envelope.FromString(pinned))
        for envelope in answer.roots:
            root = self._root(root, envelope)
        check(root["expires_at_ms"] > now_ms(), "the root has expired")
        both = ["register_authority", "data_protection_officer"]
        self.rules = self._document(root, answer.rules[-1], "rules", both)
        self.directory = self._document(root, answer.directory, "directory", both[:1])
        check(self.rules["version"] >= self.directory["lowest_rules_version"], "old rules")
        self.rules_digest = sha256(answer.rules[-1].payload)
        self.directory_digest = sha256(answer.directory.payload)

    @staticmethod
    def _signed(root, role, envelope, thing):
        keys = {proofs.key_of(key) for key in root["roles"][role]["keys"]}
        enough = root["roles"][role]["threshold"]
        check(enough >= 1, "a threshold of none")
        count = len(proofs.signers(envelope, thing, "json", keys))
        check(count >= enough, f"the {thing} lacks signatures of the role {role}")

    @classmethod
    def _root(cls, before, envelope):
        """The next root: signed by itself and by the one before, or that very one again."""
        root = json.loads(envelope.payload)
        root["digest"] = sha256(envelope.payload).hex()
        cls._signed(root, "root", envelope, "root")
        if before is None or root["digest"] == before["digest"]:
            return root
        cls._signed(before, "root", envelope, "root")
        follows = root["version"] == before["version"] + 1
        check(follows and root["previous"] == before["digest"], "the roots do not chain")
        return root

    @classmethod
    def _document(cls, root, envelope, thing, roles):
        for role in roles:
            cls._signed(root, role, envelope, thing)
        document = json.loads(envelope.payload)
        check(document["expires_at_ms"] > now_ms(), f"the {thing} has expired")
        return document

    def entry(self, kind, **wanted):
        for entry in self.directory[kind]:
            if all(entry.get(name) == value for name, value in wanted.items()):
                return entry
        raise Refused(f"the directory has no {wanted} among its {kind}")

    def keys(self, kind, **wanted):
        return {proofs.key_of(key) for key in self.entry(kind, **wanted)["keys"]}

    def evidence_type(self, wanted):
        return next(kind for kind in self.rules["evidence_types"] if kind["id"] == wanted)


class Client:
    """An authority's way to evidence, step by step."""

    def __init__(self, world, channel, pb):
        self.world, self.pb = world, pb
        self.directory = pb.directory_grpc.DirectoryServiceStub(channel)
        self.evidence = pb.evidence_grpc.EvidenceServiceStub(channel)
        answer = self.directory.GetTrust(pb.directory.GetTrustRequest())
        self.trust = Trust(pb, world.pinned, answer)
        own = self.trust.entry("authorities", id=world.authority)
        check(world.public in map(proofs.key_of, own["keys"]), "our key is not in the directory")
        self.ledger = self.trust.entry("ledgers", final_checkpoint=None)
        # The last checkpoint: the next one must extend it.
        self.seen = (0, None)

    def sealing_key(self, kind, participant):
        """The current X-Wing key of a register or keeper, from its own signed card."""
        request = self.pb.directory.ListKeyCardsRequest(participants=[participant])
        (envelope,) = self.directory.ListKeyCards(request).cards
        keys = self.trust.keys(kind, id=participant)
        card = proofs.payload(envelope, "key-card", "proto", keys)
        card = self.pb.key_card.KeyCard.FromString(card)
        now = now_ms()
        check(card.participant == participant and now < card.expires_at_ms, "not a current card")
        x_wing = [key for key in card.keys if key.kem == self.pb.envelope.KEM_X_WING]
        good = [key for key in x_wing if key.not_before_ms <= now < key.not_after_ms]
        return max(good, key=lambda key: key.not_before_ms).public_key

    def seal(self, key, kind, aad, plain):
        info = f"einmal {kind} v1".encode()
        encapsulated, ciphertext = hpke.seal(hpke.XWing, key, info, aad, plain)
        return self.pb.envelope.Sealed(
            kem=self.pb.envelope.KEM_X_WING,
            key_id=sha256(key)[:16],
            encapsulated_key=encapsulated,
            ciphertext=ciphertext,
        ).SerializeToString()

    def sign(self, thing, payload):
        kind = f"application/vnd.einmal.{thing}.v1+proto"
        signature = self.pb.envelope.Signature(
            key_id=proofs.key_id(self.world.public),
            signature=self.world.identity.sign(proofs.pae(kind, payload)),
        )
        return self.pb.envelope.Envelope(
            payload_type=kind, payload=payload, signatures=[signature]
        )

    def draft(self, evidence_type, fields, kem, purpose):
        """One request, not signed yet; with its sealed person and reply key."""
        pb, world, person = self.pb.exchange, self.world, self.world.person
        registers = self.trust.directory["registers"]
        register = next(r["id"] for r in registers if evidence_type in r["evidence_types"])
        origin, identifier = self.ledger["origin"], request_id()
        aad = aad_before_request(identifier, world.authority, register, origin)
        case = person["case_reference"]
        named = {"idnr": person["idnr"], "birth_date": person["birth_date"]}
        plain = pb.Person(case_reference=case, clerk="sachbearbeitung-4", **named)
        sealed_person = self.seal(
            self.sealing_key("registers", register),
            "person",
            aad,
            hpke.pad(plain.SerializeToString(), PERSON_SIZE),
        )
        asked = pb.AskedRecord(
            request_id=identifier,
            subject=pb.Subject(**named),
            case_reference=case,
            clerk="sachbearbeitung-4",
        )
        keeper = self.sealing_key("keepers", self.ledger["keeper"])
        reply = hpke.XWing() if kem == "X_WING" else hpke.DhX25519()
        request = pb.Request(
            id=identifier,
            authority=world.authority,
            ledger=origin,
            register=register,
            evidence_type=evidence_type,
            fields=sorted(fields),
            purpose=purpose,
            initiation=pb.INITIATION_APPLICATION,
            idnr_used=True,
            sealed_person_digest=sha256(sealed_person),
            reply_kem=self.pb.envelope.Kem.Value(f"KEM_{kem}"),
            reply_key=reply.public,
            asked_record=self.seal(
                keeper, "asked-record", aad, hpke.pad(asked.SerializeToString(), ASKED_SIZE)
            ),
        )
        return request, sealed_person, reply

    def sign_batch(self, drafts):
        """One signature over the Merkle root of all requests."""
        pb = self.pb.exchange
        leaves = [request.SerializeToString() for request, _, _ in drafts]
        root = proofs.tree_root(leaves)
        root = pb.BatchRoot(authority=self.world.authority, root=root, count=len(leaves))
        batch = self.sign("batch", root.SerializeToString())
        return [
            pb.SignedRequest(
                request=leaf, batch=batch, index=index, path=proofs.tree_path(leaves, index)
            ).SerializeToString()
            for index, leaf in enumerate(leaves)
        ]

    def send(self, signed_request, sealed_person):
        return self.evidence.RequestEvidence(
            self.pb.evidence.RequestEvidenceRequest(
                signed_request=signed_request, sealed_person=sealed_person, seen_size=self.seen[0]
            )
        )

    def check_receipt(self, receipt, leaf):
        """The leaf that we made ourselves is in the ledger, and nothing before it changed."""
        check(receipt.leaf == leaf, "a receipt for something else")
        size, root = proofs.checkpoint(receipt.checkpoint, self.ledger["key"])
        proofs.check_inclusion(leaf, receipt.index, size, receipt.inclusion, root)
        if self.seen[0] and self.seen != (size, root):
            check(receipt.consistency.from_size == self.seen[0], "a proof from another size")
            proofs.check_consistency(*self.seen, size, root, receipt.consistency.path)
        self.seen = (size, root)
        return receipt.index

    def receive(self, request, signed_request, reply, answer):
        """Verifies all of an answer, then opens it."""
        pb = self.pb.exchange
        digest = proofs.leaf_hash(request.SerializeToString())
        permit = pb.Permit.FromString(answer.permit)
        digests = (permit.request_digest, permit.rules_digest, permit.directory_digest)
        expected = (digest, self.trust.rules_digest, self.trust.directory_digest)
        check(digests == expected, "the permit is for something else")
        check([grant.field for grant in permit.fields] == list(request.fields), "other fields")
        keys = self.trust.keys("registers", id=request.register)
        kind = self.trust.evidence_type(request.evidence_type)

        envelope = self.pb.envelope.Envelope.FromString(answer.commitment)
        commitment = proofs.payload(envelope, "commitment", "proto", keys)
        commitment = pb.Commitment.FromString(commitment)
        check(commitment.request_digest == digest, "a commitment to another request")
        check(commitment.permit_digest == sha256(answer.permit), "a commitment to another permit")
        check(commitment.sealed_evidence_digest == sha256(answer.sealed_evidence), "other evidence")
        check(commitment.day == commitment.committed_at_ms // DAY_MS, "another day")
        check(len(commitment.slots) == kind["slots"], "another number of records")

        exchange = self.pb.ledger.ExchangeBody(
            signed_request=signed_request, permit=answer.permit, commitment=answer.commitment
        )
        body = self.pb.ledger.Body(exchange=exchange).SerializeToString()
        leaf = bytes([1, 1]) + commitment.day.to_bytes(4, "big") + sha256(body)
        index = self.check_receipt(answer.receipt, leaf)

        sealed = self.pb.envelope.Sealed.FromString(answer.sealed_evidence)
        check(sealed.key_id == sha256(reply.public)[:16], "sealed for another key")
        plain = hpke.open_sealed(
            reply,
            sealed.encapsulated_key,
            b"einmal evidence v1",
            aad_of_request(digest),
            sealed.ciphertext,
        )
        envelope = self.pb.envelope.Envelope.FromString(hpke.unpad(plain, kind["size"]))
        evidence = pb.Evidence.FromString(proofs.payload(envelope, "evidence", "proto", keys))
        check(evidence.request_digest == digest, "evidence for another request")
        check(evidence.register == request.register, "another register's evidence")
        values = {field.field: json.loads(field.json) for field in evidence.fields}
        check(set(values) <= set(request.fields), "a field that was not asked for")
        return {
            "request": request.id.hex(),
            "evidence_type": request.evidence_type,
            "reply_kem": self.pb.envelope.Kem.Name(request.reply_kem),
            "outcome": pb.Outcome.Name(evidence.outcome),
            "fields": sorted(values),
            "index": index,
            "leaf": leaf.hex(),
            "size": self.seen[0],
        }

    def report_use(self, request):
        """Says that the evidence was used; the broker cannot read it."""
        digest = proofs.leaf_hash(request.SerializeToString())
        pb = self.pb.exchange
        used = pb.UseRecord(request_digest=digest, use=pb.USE_USED).SerializeToString()
        keeper = self.sealing_key("keepers", self.ledger["keeper"])
        sealed = self.seal(keeper, "use-record", aad_of_request(digest), hpke.pad(used, USE_SIZE))
        reported = now_ms()
        report = pb.UseReport(
            request_id=request.id,
            authority=self.world.authority,
            ledger=self.ledger["origin"],
            request_digest=digest,
            sealed_use=sealed,
            reported_at_ms=reported,
        )
        envelope = self.sign("use", report.SerializeToString()).SerializeToString()
        answer = self.evidence.ReportUse(
            self.pb.evidence.ReportUseRequest(report=envelope, seen_size=self.seen[0])
        )
        body = self.pb.ledger.Body(use=self.pb.ledger.UseBody(report=envelope))
        day = int.from_bytes(answer.receipt.leaf[2:6], "big")
        check(day in (reported // DAY_MS, reported // DAY_MS + 1), "another day")
        leaf = bytes([1, 3]) + day.to_bytes(4, "big") + sha256(body.SerializeToString())
        return self.check_receipt(answer.receipt, leaf)


def tampered(answer):
    """The answer with one bit changed, once in each of its parts."""

    def flip(blob):
        middle = len(blob) // 2
        return blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]

    for part in ("permit", "commitment", "sealed_evidence"):
        other = type(answer).FromString(answer.SerializeToString())
        setattr(other, part, flip(getattr(other, part)))
        yield part, other
    for part in ("leaf", "inclusion", "checkpoint", "index"):
        other = type(answer).FromString(answer.SerializeToString())
        if part == "leaf":
            other.receipt.leaf = flip(other.receipt.leaf)
        elif part == "inclusion":
            other.receipt.inclusion[0] = flip(other.receipt.inclusion[0])
        elif part == "checkpoint":
            size = other.receipt.checkpoint.split("\n")[1]
            grown = other.receipt.checkpoint.replace(f"\n{size}\n", f"\n{int(size) + 1}\n", 1)
            other.receipt.checkpoint = grown
        else:
            other.receipt.index ^= 1
        yield part, other


def all_tampering_is_found(client, request, signed_request, reply, answer):
    """How many changed answers were refused: all, or it raises."""
    found = 0
    for part, other in tampered(answer):
        try:
            client.receive(request, signed_request, reply, other)
        except (Refused, DecodeError, ValueError):
            found += 1
            continue
        raise Refused(f"a changed {part} was not found")
    return found


def refused(client):
    """Asks for a purpose for which the rules do not permit it; what the broker says to that."""
    evidence_type, fields, kem = ASKS[0]
    request, sealed_person, _ = client.draft(evidence_type, fields, kem, "child-benefit")
    (signed_request,) = client.sign_batch([(request, sealed_person, None)])
    try:
        client.send(signed_request, sealed_person)
    except grpc.RpcError as error:
        check(error.code() is grpc.StatusCode.PERMISSION_DENIED, f"refused with {error.code()}")
        # From the trailer grpc-status-details-bin.
        (detail,) = rpc_status.from_call(error).details
        info = error_details_pb2.ErrorInfo()
        check(detail.Unpack(info), "the detail is no google.rpc.ErrorInfo")
        check((info.domain, info.reason) == ("einmal", "NOT_PERMITTED"), f"refused: {info.reason}")
        return {"code": error.code().name, "domain": info.domain, "reason": info.reason}
    raise Refused("a wrong purpose was answered")


def messages():
    """The compiled messages; there only after `compile_protos`."""
    from types import SimpleNamespace

    from einmal.directory.v1 import directory_pb2, directory_pb2_grpc
    from einmal.evidence.v1 import evidence_pb2, evidence_pb2_grpc
    from einmal.protocol.v1 import envelope_pb2, exchange_pb2, key_card_pb2, ledger_pb2

    return SimpleNamespace(
        directory=directory_pb2,
        directory_grpc=directory_pb2_grpc,
        envelope=envelope_pb2,
        evidence=evidence_pb2,
        evidence_grpc=evidence_pb2_grpc,
        exchange=exchange_pb2,
        key_card=key_card_pb2,
        ledger=ledger_pb2,
    )


def run(world, channel, pb):
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    check(health.status == health_pb2.HealthCheckResponse.SERVING, "the broker is not serving")
    services = sorted(ProtoReflectionDescriptorDatabase(channel).get_services())
    check("einmal.evidence.v1.EvidenceService" in services, f"reflection lists {services}")

    client = Client(world, channel, pb)
    told = {"health": "SERVING", "services": services, "refused": refused(client)}
    drafts = [client.draft(*ask, "parental-allowance") for ask in ASKS]
    told |= {"exchanges": [], "tampering_found": 0}
    for (request, sealed_person, reply), signed in zip(drafts, client.sign_batch(drafts)):
        answer = client.send(signed, sealed_person)
        told["tampering_found"] += all_tampering_is_found(client, request, signed, reply, answer)
        told["exchanges"].append(client.receive(request, signed, reply, answer))
        # The identical bytes again get the identical answer (ONCE).
        again = client.send(signed, sealed_person)
        check(again.sealed_evidence == answer.sealed_evidence, "another answer to the same bytes")
    told["uses"] = [client.report_use(request) for request, _, _ in drafts]
    return told


def main():
    here = Path(__file__).resolve().parent
    arguments = argparse.ArgumentParser(description="A foreign client of a running demo.")
    arguments.add_argument("--world", type=Path, required=True)
    arguments.add_argument("--proto", type=Path, default=here.parent.parent / "proto")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as compiled:
        compile_protos(arguments.proto, compiled)
        world = World(arguments.world)
        with world.channel() as channel:
            print(json.dumps(run(world, channel, messages())))


if __name__ == "__main__":
    main()
