"""Checks an Ironbell receipt with nothing but the log's public keys. Written from hsm/README.md alone.

    verify_receipt.py RECEIPT KEYS

KEYS holds verifier keys, one a line; all of them must have signed. Ed25519 and ECDSA signatures are checked by
the `openssl` program. Exit code 0: it holds; 1: it does not, and why.
"""
import base64
import hashlib
import subprocess
import sys
import tempfile

KINDS = {"command": 1, "time": 2, "state": 3, "port": 4, "account": 5}


class Wrong(Exception):
    """What does not hold."""


def need(holds, why):
    if not holds:
        raise Wrong(why)


def sha256(data):
    return hashlib.sha256(data).digest()


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, f"not canonical Base64: {text!r}")
    return data


def digest(text):
    data = unbase64(text)
    need(len(data) == 32, "a hash has 32 bytes")
    return data


def number(text):
    need(text.isascii() and text.isdigit() and str(int(text)) == text, f"not a decimal number: {text!r}")
    return int(text)


def openssl_verifies(spki, message, signature, hashing):
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in (("key", spki), ("message", message), ("signature", signature)):
            with open(f"{scratch}/{name}", "wb") as file:
                file.write(data)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", f"{scratch}/key"]
        command += ["-rawin", *hashing, "-in", f"{scratch}/message", "-sigfile", f"{scratch}/signature"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def check_signature(vkey, text, lines):
    name, key_id, material = vkey.split("+", 2)
    material = unbase64(material)
    kind, key = material[0], material[1:]
    hashed = key if kind == 2 else name.encode() + b"\n" + material
    need(sha256(hashed)[:4].hex() == key_id, f"the id of {name} is not that of its key")
    if kind == 1:
        spki, hashing = bytes.fromhex("302a300506032b6570032100") + key, []
    elif kind == 2:
        spki, hashing = key, ["-digest", "sha256"]
    else:
        raise Wrong(f"keys of type {kind} are not known to this program")
    found = False
    for line in lines:
        dash, line_name, data = line.split(" ")
        data = unbase64(data)
        if dash != "—" or line_name != name or data[:4].hex() != key_id:
            continue
        verified = openssl_verifies(spki, text.encode(), data[4:], hashing)
        need(verified, f"the signature of {name}+{key_id} does not verify")
        found = True
    need(found, f"not signed by {name}+{key_id}")
    return name


def entry_of(part):
    need(2 <= len(part["path"]) <= 16 and part["place"] >> len(part["path"]) == 0, "no entry has such a path")
    node = sha256(b"\0" + part["salt"] + bytes([part["kind"]]) + part["content"])
    place = part["place"]
    for sibling in part["path"]:
        node = sha256(b"\1" + (sibling + node if place & 1 else node + sibling))
        place >>= 1
    return node


def root_of(index, size, node, proof):
    """RFC 9162, section 2.1.3.2."""
    need(index < size, "the leaf lies outside the tree")
    place, last = index, size - 1
    for sibling in proof:
        need(last, "the inclusion proof is too long")
        if place & 1 or place == last:
            node = sha256(b"\1" + sibling + node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = sha256(b"\1" + node + sibling)
        place, last = place >> 1, last >> 1
    need(last == 0, "the inclusion proof is too short")
    return node


def read_parts(lines):
    parts = []
    for line in lines:
        word, value = line.split(" ", 1)
        if word == "part":
            parts.append({"kind": KINDS[value], "path": []})
        elif word == "path":
            parts[-1]["path"].append(digest(value))
        else:
            parts[-1][word] = {"salt": digest, "content": unbase64, "place": number}[word](value)
    return parts


def verify(receipt, keys):
    record, proof, text, signatures = receipt.split("\n\n")
    title, seq, *part_lines = record.split("\n")
    proof_title, index, *hashes = proof.split("\n")
    need((title, proof_title) == ("ironbell receipt v1", "c2sp.org/tlog-proof@v1"), "not a receipt of a known version")
    need(signatures[-1] == "\n", "the last line has no end")
    seq, index = number(seq.removeprefix("seq ")), number(index.removeprefix("index "))
    names = {check_signature(key, text + "\n", signatures[:-1].split("\n")) for key in keys}
    origin, size, root = text.split("\n")
    need(names == {origin} and index == seq - 1, "the checkpoint is of another log, or the index of another Seq")
    parts = read_parts(part_lines)
    need(all(part["content"][:8] == seq.to_bytes(8, "big") for part in parts), "a part is of another Seq")
    entries = {entry_of(part) for part in parts}
    need(len(entries) == 1, "the parts do not lead to one entry")
    reached = root_of(index, number(size), sha256(b"\0" + entries.pop()), [digest(line) for line in hashes])
    need(reached == digest(root), "the inclusion proof does not lead to the root")
    return f"{origin}: Seq {seq} is in the tree of size {size}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as receipt_file, open(sys.argv[2], encoding="utf-8") as key_file:
        key_lines = [line.strip() for line in key_file if line.strip() and not line.startswith("#")]
        try:
            print(verify(receipt_file.read(), key_lines))
        except (Wrong, ValueError, KeyError, IndexError) as error:
            print(f"does not hold: {error!r}")
            sys.exit(1)
