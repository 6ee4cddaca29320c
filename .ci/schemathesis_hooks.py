"""What `.ci/schemathesis` must know besides the document: how to be an agent, and which values lead past the first check."""

import hashlib
import json
import os
import random
import re
import subprocess
import urllib.error
import urllib.request

import schemathesis

API = os.environ["AMESH_API"]
NAME = os.environ.get("AMESH_TESTER", "tester")


def new_key():
    """A public key nobody has used, as PEM."""
    private = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True).stdout
    return subprocess.run(["openssl", "pkey", "-pubout"], input=private, check=True, capture_output=True).stdout.decode()


def ask(path, body=None, key=None):
    """One request of our own; its JSON answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = json.dumps(body).encode() if body is not None else None
    return json.load(urllib.request.urlopen(urllib.request.Request(f"{API}/v1{path}", data, headers), timeout=30))


class Agent:
    """The registered agent that asks. A new one takes its place when its key opens nothing any more."""

    def __init__(self):
        self.count = 0
        self.register()

    def register(self):
        self.count += 1
        name = f"{NAME}-{self.count}"
        body = {"name": name, "tenant": "default", "key_algorithm": "Ed25519", "public_key": new_key()}
        answer = ask("/register", body)
        self.key, self.address = answer["api_key"], answer["address"]

    def is_known(self):
        try:
            return bool(ask("/agents/me", key=self.key))
        except urllib.error.HTTPError:
            return False

    def mail(self):
        """The id of a message that waits for this agent."""
        payload = {"type": "request", "message": "hello"}
        return ask("/route", {"to": self.address, "subject": "s", "payload": payload}, self.key)["id"]

    def file(self, sent):
        """An announced file, its bytes sent or not: its id, and the token for its bytes."""
        about = {"filename": "a.txt", "content_type": "text/plain", "size": len(BYTES), "digest": f"sha256:{DIGEST}"}
        answer = ask("/attachments/upload", about, self.key)
        if sent:
            put = urllib.request.Request(answer["upload_url"], BYTES, method="PUT")
            urllib.request.urlopen(put, timeout=30).read()
            answer = ask(f"/attachments/{answer['attachment_id']}/confirm", {}, self.key)
        url = answer.get("upload_url") or answer["download_url"]
        return answer["attachment_id"], url.partition("token=")[2]


BYTES = b"hello world"
DIGEST = hashlib.sha256(BYTES).hexdigest()
AGENT = Agent()
KEYS = [new_key() for _ in range(20)]
CHANCE = random.Random(7)


@schemathesis.auth(refresh_interval=None)
class ApiKey:
    def get(self, case, context):
        return AGENT.key

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {AGENT.key}"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Half of the time a well-formed request names what exists: then it reaches what lies behind the first check."""
    if isinstance(case.query, dict) and "wait" in case.query:
        # Nobody has half a minute here.
        if re.fullmatch("[0-9]+", str(case.query["wait"])):
            case.query["wait"] = "1"
    if CHANCE.random() < 0.5:
        return
    if isinstance(case.body, dict):
        for head in (case.body, case.body.get("envelope")):
            if isinstance(head, dict) and isinstance(head.get("to"), str) and head["to"]:
                head["to"] = AGENT.address
                for member in ("id", "from", "signature", "timestamp", "expires_at", "version"):
                    head.pop(member, None)
        if isinstance(case.body.get("ids"), list) and len(case.body["ids"]) == 1:
            case.body["ids"] = [AGENT.mail()]
        if isinstance(case.body.get("public_key"), str) and case.body["public_key"]:
            case.body["public_key"], case.body["key_algorithm"] = CHANCE.choice(KEYS), "Ed25519"
    if case.operation.path == "/attachments/{id}/upload":
        case.body = BYTES
    for part in (case.path_parameters, case.query):
        if isinstance(part, dict) and isinstance(part.get("id"), str) and part["id"]:
            if case.operation.path.startswith("/attachments/"):
                part["id"], token = AGENT.file(sent=not case.operation.path.endswith("/upload"))
                if isinstance(case.query, dict) and "token" in case.query:
                    case.query["token"] = token
            else:
                part["id"] = AGENT.mail()
        if isinstance(part, dict) and isinstance(part.get("address"), str) and part["address"]:
            part["address"] = AGENT.address


@schemathesis.hook
def after_call(context, case, response):
    key_may_be_gone = case.method != "GET" and case.operation.path.startswith(("/agents/me", "/auth", "/keys"))
    if key_may_be_gone and not AGENT.is_known():
        AGENT.register()

