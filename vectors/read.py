"""Opens the sealed vectors as docs/format.md says, and nothing else: a second implementation, to prove that page.

    pip install cryptography && python vectors/read.py
"""

import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER, TAG = 256, 16
SUITE = b"\x01"


class Refused(Exception):
    """The file does not open; the argument is the error's name."""


def hkdf(secret, salt, info):
    """RFC 5869 for 32 bytes: one block of HMAC-SHA256."""
    extracted = hmac.digest(salt or bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def unseal_header(header, reader):
    """Checks 8 to 13. Gives the data key."""
    if header[16:32] != bytes.fromhex(reader["zone"]):
        raise Refused("Unseal.OtherZone")
    wrapping = hkdf(bytes.fromhex(reader["zone_key"]), header[64:96], b"custody wrap v1" + SUITE + header[16:36])
    try:
        data_key = AESGCM(wrapping).decrypt(bytes(12), header[96:144], header[:96])
    except InvalidTag:
        raise Refused("Unseal.DataKey") from None
    commitment = header[144:176]
    macs = [
        ("Unseal.Commitment", b"custody commit v1", header[:144], commitment),
        ("Unseal.OtherCluster", b"custody cluster v1", commitment + reader["cluster"].encode(), header[176:208]),
        ("Unseal.OtherPath", b"custody path v1", commitment + reader["path"].encode(), header[208:240]),
    ]
    for error, label, message, expected in macs:
        key = hkdf(data_key, header[48:64], label + SUITE)
        if not hmac.compare_digest(hmac.digest(key, message, hashlib.sha256), expected):
            raise Refused(error)
    return data_key


def parse_header(file):
    """Checks 1 to 6. Gives the chunk size."""
    magic = b"\x93CUSTODY"
    if file[: len(magic)] != magic[: len(file)]:
        raise Refused("Header.NotSealed")
    if len(file) < HEADER:
        raise Refused("Header.Short")
    if file[8:10] != b"\x00\x01":
        raise Refused("Header.Version")
    if file[10:11] != SUITE:
        raise Refused("Header.Suite")
    if not 12 <= file[11] <= 20:
        raise Refused("Header.ChunkSize")
    if any(file[12:16] + file[36:48] + file[240:256]):
        raise Refused("Header.Reserved")
    return 1 << file[11]


def count_chunks(length, sealed_chunk):
    """Check 7."""
    count = -(-(length - HEADER) // sealed_chunk)
    rest = length - HEADER - (count - 1) * sealed_chunk
    if count < 1 or count > 1 << 32 or rest < TAG or (rest == TAG and count > 1):
        raise Refused("Length")
    return count


def open_file(file, reader):
    size = parse_header(file)
    sealed = size + TAG
    count = count_chunks(len(file), sealed)
    data_key = unseal_header(file[:HEADER], reader)
    key = AESGCM(hkdf(data_key, file[48:64], b"custody body v1" + SUITE + size.to_bytes(4, "big")))

    def opens(chunk, index, last):
        try:
            return key.decrypt(bytes(7) + index.to_bytes(4, "big") + bytes([last]), chunk, b"")
        except InvalidTag:
            return None

    plain = []
    for index in range(count):
        chunk, last = file[HEADER + index * sealed :][:sealed], index == count - 1
        piece = opens(chunk, index, last)
        if piece is None:
            if opens(chunk, index, not last) is not None:
                raise Refused("Chunk.Truncated" if last else "Chunk.Extended")
            elsewhere = any(opens(chunk, at, flag) is not None for at in range(count + 1) for flag in (False, True))
            raise Refused("Chunk.Moved" if elsewhere else "Chunk.Damaged")
        plain.append(piece)
    return b"".join(plain)


def main():
    directory = pathlib.Path(__file__).parent / "sealed"
    vectors = json.loads((directory / "index.json").read_text())["vectors"]
    # A file that the index forgot would be opened by nobody.
    listed = {f"{vector['name']}.sealed" for vector in vectors}
    unlisted = sorted(file.name for file in directory.glob("*.sealed") if file.name not in listed)
    wrong = len(unlisted)
    for name in unlisted:
        print(f"{name}: not in the index")
    for vector in vectors:
        file = (directory / f"{vector['name']}.sealed").read_bytes()
        expected = vector.get("error")
        if expected is None:
            expected = bytes(at % 251 for at in range(vector["plain_length"]))
        try:
            found = open_file(file, vector["reader"])
        except Refused as refusal:
            found = str(refusal)
        if found != expected:
            wrong += 1
            print(f"{vector['name']}: {found[:40]!r}, not {expected[:40]!r}")
    refused = sum("error" in vector for vector in vectors)
    print(f"{len(vectors) - refused} to open, {refused} to refuse, {wrong} wrong")
    # One kind alone would prove little: a reader that refuses everything passes every negative vector.
    return bool(wrong or not refused or refused == len(vectors))


if __name__ == "__main__":
    sys.exit(main())
