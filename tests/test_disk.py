"""Every byte that a node ever hands to a file, in whichever call, is recorded by the kernel and searched: what was deleted
again, temporary files, names of files and the log at trace level too."""

import hashlib
import hmac
import re
import struct
import subprocess
import sys
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from helpers.node import Node, files_under
from helpers.written import Record, why_not
from test_canary import KMS_FILE, Canary, forms, live, root_key_material

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"{REASON}; test_canary.py searches what is left behind")
HEADER = 256


def recorded(node: Node) -> Record:
    """Has the node's calls recorded, over all its starts."""
    record = Record(node.directory / "calls.strace")
    node.command = [*record.prefix, *node.command]
    return record


def search(record: Record, needles: dict[str, list[bytes]]) -> dict[str, set[str]]:
    """Where each kind of thing was written to."""
    places = {**record.content, "a name": b"\0".join(record.names)}
    found: dict[str, set[str]] = {}
    for kind, patterns in needles.items():
        where = {place for place, content in places.items() if any(pattern in content for pattern in patterns)}
        if where:
            found[kind] = where
    return found


# --- keys, opened from outside as docs/keyring.md and docs/format.md say ----------------------------------------------


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(salt or bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def zone_key(stored: bytes, root: bytes) -> tuple[bytes, bytes]:
    """A keyring object's zone and key, unwrapped with the development key's material."""
    zone, version = stored[12:28], struct.unpack(">I", stored[28:32])[0]
    texts, rest = [], stored[40:-32]
    while rest:
        length = struct.unpack(">H", rest[:2])[0]
        texts.append(rest[2 : 2 + length])
        rest = rest[2 + length :]
    cluster, arn, _role, wrapped = texts
    start = 5 + wrapped[4]
    context = {
        "custody:cluster": cluster.decode(),
        "custody:purpose": "zone-key",
        "custody:version": str(version),
        "custody:zone": zone.hex(),
    }
    key = AESGCM(root).decrypt(
        wrapped[start : start + 12], wrapped[start + 12 :], b"custody local kms v1\0" + arn + b"\0" + canonical(context)
    )
    assert hmac.digest(hkdf(key, b"", b"custody keyring v1"), stored[:-32], hashlib.sha256) == stored[-32:]
    return zone, key


def canonical(context: dict[str, str]) -> bytes:
    """Each key and value after its length, sorted."""
    texts = [text.encode() for pair in sorted(context.items()) for text in pair]
    return b"".join(struct.pack(">I", len(text)) + text for text in texts)


def data_key(sealed: bytes, key: bytes) -> bytes:
    """A sealed file's own key."""
    wrapping = hkdf(key, sealed[64:96], b"custody wrap v1\x01" + sealed[16:36])
    return AESGCM(wrapping).decrypt(bytes(12), sealed[96:144], sealed[:96])


def every_key(node: Node) -> dict[str, list[bytes]]:
    """The keys that opened what a node stored, in the forms in which they could lie about."""
    root, *_ = [key for key in root_key_material(node.data_dir / KMS_FILE) if len(key) == 32]
    stored = {path: path.read_bytes() for path in files_under(node.storage_dir())}
    zones = dict(zone_key(content, root) for path, content in stored.items() if path.parent.name == "keyring")
    sealed = [content for path, content in stored.items() if path.parent.name != "keyring"]
    assert len(zones) >= 2 and len(sealed) > 10
    files = [data_key(content, zones[content[16:32]]) for content in sealed]
    return {
        "root key": root_key_material(node.data_dir / KMS_FILE),
        "zone key": [form for key in zones.values() for form in key_forms(key)],
        "data key": [form for key in files for form in key_forms(key)],
    }


def key_forms(key: bytes) -> list[bytes]:
    return [key, key[::-1], key[:16], key[16:], *forms(key.hex())[:2], str(list(key)).encode()]


# --- the tests --------------------------------------------------------------------------------------------------------


# The password that the node was given lies in memory of its own, for the image that takes over: no file, and nothing else
# of what is searched for is in it.
GIVEN = {"secret": {"/memfd:custody-secrets"}}


def test_an_encrypted_node_never_writes_a_name_a_value_a_vector_or_a_key_to_any_file(make_node, local_kms):
    canary = Canary()
    node = make_node(key_arn=local_kms.create_key(), log="trace", password=canary.password)
    record = recorded(node)
    node.start()
    for part, _ in enumerate(live(node, canary), 1):
        if part == 4:
            seal_and_unseal(node, local_kms)
    record.read()

    assert not record.unseen, f"written past the record: {record.unseen[:5]}"
    storage = str(node.storage_dir())
    stored = {file: content for file, content in record.content.items() if file.startswith(storage)}
    assert sum(map(len, stored.values())) > canary.vectors.nbytes
    assert any(file.startswith(storage) and not node_has(file) for file in stored), "what was deleted is in it, too"
    assert not any(file.endswith(KMS_FILE) for file in record.content), "root keys are not the node's to write"
    log = bytes(record.content[str(node.log_file)])
    # Two threads' lines may be recorded in another order than they were written in, and a kill may come in between.
    lines = Counter(node.log_file.read_bytes().splitlines())
    assert lines.total() > 1_000 and lines <= Counter(log.splitlines()), "the record is whole"
    for event in (rb"TRACE.*custody_store.*put", rb"TRACE.*custody_engine.*durable", rb"DEBUG.*answered call=\"Insert\""):
        assert re.search(event, log), f"no {event} in the log: its search proved little"
    assert b"this process holds no key" in log, "it was sealed meanwhile"
    assert search(record, canary.needles() | every_key(node)) == GIVEN


def node_has(file: str) -> bool:
    try:
        return open(file, "rb").close() is None
    except FileNotFoundError:
        return False


def seal_and_unseal(node: Node, local_kms) -> None:
    """The process becomes the keyless stub, and the node again."""
    # It is said once, into a log that each look at the node makes longer.
    before = node.log_file.stat().st_size
    local_kms.disable(node.key_arn)
    node.wait_for("the seal", lambda: "holds no key and no data" in node.said(before))
    node.wait_for("the stub", lambda: node.http("/readyz")[0] == 503)
    local_kms.enable(node.key_arn)
    node.wait_until_ready()


def test_the_same_search_finds_all_of_it_in_an_unencrypted_node(make_node):
    canary = Canary()
    node = make_node(log="trace", password=canary.password)
    record = recorded(node)
    node.start()
    for _ in live(node, canary):
        pass
    found = search(record.read(), canary.needles())
    assert not record.unseen, record.unseen[:5]
    assert {"name", "value", "vector"} <= set(found) and found["secret"] == GIVEN["secret"]
    assert str(node.log_file) not in set().union(*found.values()), "logs hold neither names nor values even here"


WRITER = """
import fcntl, mmap, os, socket, sys
os.chdir(sys.argv[1])
file = os.open("a file", os.O_RDWR | os.O_CREAT)
os.write(file, b"by write ")
os.writev(file, [b"by wri", b"tev "])
os.pwrite(file, b"by pwrite ", 100)
os.pwritev(file, [b"by pw", b"ritev"], 200)
os.unlink("a file")
os.write(file, b"after unlink")
os.mkdir("by mkdir"); os.symlink("target", "by symlink"); os.rename("by symlink", "by rename"); os.mkfifo("by mkfifo")
os.link("by mkfifo", "by link")
one, two = socket.socketpair()
os.write(one.fileno(), b"into a socket")
os.write(os.pipe()[1], b"into a pipe")
if sys.argv[2] == "mmap":
    os.ftruncate(file, 4096)
    mmap.mmap(file, 4096)[:5] = b"by map"[:5]
if sys.argv[2] == "copy_file_range":
    os.copy_file_range(file, os.open("other", os.O_RDWR | os.O_CREAT), 4)
if sys.argv[2] == "sendfile":
    os.sendfile(os.open("other", os.O_RDWR | os.O_CREAT), file, 0, 4)
if sys.argv[2] == "memfd_create":
    os.memfd_create("memory")
"""


@pytest.mark.parametrize("past", ["nothing", "mmap", "copy_file_range", "sendfile", "memfd_create"])
def test_the_record_shows_each_way_into_a_file_and_says_where_one_leads_past_it(tmp_path, past):
    record = Record(tmp_path / "calls.strace")
    subprocess.run([*record.prefix, sys.executable, "-c", WRITER, tmp_path, past], check=True)
    record.read()
    # A file that is gone has the same name.
    content = bytes(record.content[str(tmp_path / "a file")])
    assert content == b"by write by writev by pwrite by pwritevafter unlink"
    assert {b"by mkdir", b"by rename", b"by mkfifo", b"by link", b"target"} <= record.names
    assert not any(b"into a" in content for content in record.content.values())
    assert bool(record.unseen) == (past != "nothing") and all(past in call for call in record.unseen)
