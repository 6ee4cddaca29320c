#!/usr/bin/env python3
"""Makes the vectors in this folder with other programs: OpenSSL, Python's json, jq 1.6, bash and Node.

Run in an empty directory:  python3 /path/to/make.py .
Nothing here is secret: the private keys sign test messages and nothing else.
"""
import base64, hashlib, json, pathlib, subprocess, sys, tempfile

OUT = pathlib.Path(sys.argv[1])
TMP = pathlib.Path(tempfile.mkdtemp())


def run(*command, stdin=b""):
    return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout


def generate(name, *options):
    private, public = TMP / f"{name}.pem", OUT / f"{name}.pub.pem"
    run("openssl", "genpkey", *options, "-out", str(private))
    run("openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public))
    return private


def fingerprint(der):
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def ed25519(private, message):
    (TMP / "m").write_bytes(message)
    return run("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(private), "-in", str(TMP / "m"))


def dgst(private, message, *options):
    return run("openssl", "dgst", "-sha256", "-sign", str(private), *options, stdin=message)


def plain_ecdsa(der):
    """r and s of 32 bytes each, out of DER."""
    def integer(at):
        return int.from_bytes(der[at + 2 : at + 2 + der[at + 1]], "big"), at + 2 + der[at + 1]
    r, at = integer(2)
    s, _ = integer(at)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


# --- keys ----------------------------------------------------------------------------------------
ED = generate("ed25519", "-algorithm", "ED25519")
(OUT / "ed25519.pem").write_bytes(ED.read_bytes())
RSA = generate("rsa2048", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
EC = generate("p256", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
generate("rsa1024", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
generate("p384", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
generate("secp256k1", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1")
generate("x25519", "-algorithm", "X25519")

keys = {}
for name in ["ed25519", "rsa2048", "p256"]:
    der = run("openssl", "pkey", "-pubin", "-in", str(OUT / f"{name}.pub.pem"), "-outform", "DER")
    keys[name] = {"der": base64.b64encode(der).decode(), "der_fingerprint": fingerprint(der)}
    if name == "ed25519":
        keys[name]["raw_hex"] = der[-32:].hex()
        keys[name]["raw_fingerprint"] = fingerprint(der[-32:])

# --- signatures over one text, in every encoding of A-6 ---------------------------------------------
TEXT = "alice@acme.crabmail.ai|bob@acme.crabmail.ai|Hi|normal||abc=".encode()
DIGEST = hashlib.sha256(TEXT).digest()
PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
signatures = [
    ("ed25519", "ed25519", ed25519(ED, TEXT)),
    ("rsa2048", "pkcs1", dgst(RSA, TEXT)),
    ("rsa2048", "pss", dgst(RSA, TEXT, *PSS)),
    ("rsa2048", "pkcs1 over digest", dgst(RSA, DIGEST)),
    ("rsa2048", "pss over digest", dgst(RSA, DIGEST, *PSS)),
    ("p256", "der", dgst(EC, TEXT)),
    ("p256", "plain", plain_ecdsa(dgst(EC, TEXT))),
    ("p256", "der over digest", dgst(EC, DIGEST)),
    ("p256", "plain over digest", plain_ecdsa(dgst(EC, DIGEST))),
]

# --- messages: what was received, what was signed ----------------------------------------------------
ASTRAL = '{"\\ud83d\\ude00":1,"\\uffe0":2,"10":"ten","9":"nine","02":0,"b":{"z":1,"a":2}}'
PAYLOADS = {
    "plain": '{"message":"Hello","type":"notification"}',
    "unsorted": '{"type":"notification","message":"Hello"}',
    "spaced": '{ "type" : "task",\n  "message":"a  b",\t"context" : null }',
    "nested": '{"type":"task","message":"m","context":{"z":[{"b":1,"a":[]},{}],"a":{"y":true,"x":false}}}',
    "accents": '{"type":"task","message":"Grüße, 世界 😀","context":{"straße":"\u2028"}}',
    "escapes": '{"type":"task","message":"a\\/b \\u00e9 \\u0041 \\n \\u001F \\" \\\\ \\u000b\\b","context":{"k\\u0065y":1}}',
    "del": '{"type":"task","message":"del \x7f here"}',
    "jskeys": '{"type":"task","message":"m","context":' + ASTRAL + "}",
    "attachments": '{"type":"task","message":"m","attachments":[]}',
    "numbers": '{"type":"task","message":"m","context":{"a":1.0,"b":1e5,"c":12345678901234567890,"d":-0.0}}',
}
NODE = """
const sort = v => Array.isArray(v) ? v.map(sort) : v && typeof v === 'object'
  ? Object.fromEntries(Object.keys(v).sort().map(k => [k, sort(v[k])])) : v;
process.stdout.write(JSON.stringify(%s(JSON.parse(require('fs').readFileSync(0, 'utf8')))));
"""


def python(**options):
    return lambda text: json.dumps(json.loads(text), separators=(",", ":"), **options).encode()


def without_attachments(text):
    value = json.loads(text)
    value.pop("attachments", None)
    return json.dumps(value).encode()


HASHED = {
    "as received, compact": lambda text: text.encode(),
    "jq -cS": lambda text: run("jq", "-cS", ".", stdin=text.encode()).rstrip(b"\n"),
    "jq -c": lambda text: run("jq", "-c", ".", stdin=text.encode()).rstrip(b"\n"),
    "json.dumps": python(),
    "json.dumps raw": python(ensure_ascii=False),
    "json.dumps sorted": python(sort_keys=True),
    "JSON.stringify": lambda text: run("node", "-e", NODE % "", stdin=text.encode()),
    "JSON.stringify sorted": lambda text: run("node", "-e", NODE % "sort", stdin=text.encode()),
    "jq -cS before attachments": lambda text: run("jq", "-cS", ".", stdin=without_attachments(text)).rstrip(b"\n"),
}


def message(name, payload, hashed, subject="Hi", signed_subject=None, to="bob@acme.crabmail.ai"):
    sender = "alice@acme.crabmail.ai"
    digest = base64.b64encode(hashlib.sha256(hashed).digest()).decode()
    text = f"{sender}|{to}|{signed_subject if signed_subject is not None else subject}|high|msg_1_a|{digest}"
    return {
        "name": name, "from": sender, "to": to, "subject": subject, "priority": "high",
        "in_reply_to": "msg_1_a", "payload": payload, "hashed": hashed.decode(),
        "signature": base64.b64encode(ed25519(ED, text.encode())).decode(),
    }


def accepted(kind, how):
    """Forms that A-1 names. Re-formatted numbers are nobody's: tokens count as received (ICL-24)."""
    if kind == "numbers":
        return how == "as received, compact"
    if kind == "spaced" and how == "as received, compact":
        return False
    if how == "JSON.stringify" and kind == "jskeys":
        return False  # insertion order with array indexes first: no form of A-1
    if how == "json.dumps sorted" and kind == "jskeys":
        return True
    if how == "jq -cS before attachments":
        return kind == "attachments"
    return True


messages = [
    message(f"{kind}: {how}", payload, make(payload))
    for kind, payload in PAYLOADS.items()
    for how, make in HASHED.items()
    if accepted(kind, how)
]

# ICL-25: the subject as the reference client's shell line mangles it.
SHELL = r"""read -r F T S < <(jq -r '["f","t",.] | @tsv'); printf %s "$S" """
for subject in ["plain", "tab\there", "back\\slash", "two\nlines", " blanks around  ", "cr\r and | pipe", "inner  blanks"]:
    mangled = run("bash", "-c", SHELL, stdin=json.dumps(subject).encode()).decode()
    payload = PAYLOADS["unsorted"]
    messages.append(message(f"subject {subject!r}", payload, HASHED["jq -cS"](payload), subject, mangled))

vectors = {
    "text": TEXT.decode(),
    "keys": keys,
    "signatures": [{"key": k, "name": n, "signature": base64.b64encode(s).decode()} for k, n, s in signatures],
    "messages": messages,
}
(OUT / "vectors.json").write_text(json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")
print(len(messages), "messages")
