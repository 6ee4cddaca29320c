#!/usr/bin/env python3
"""An agent of an amesh node, in Python: it answers every request, and asks for receipts of what it sends.

    pip install -r requirements.txt
    python agent.py pia listen
    python agent.py pia send bob "Build" "Is it green?"

It keeps its key, its registration and its mail in --state (~/.amesh-examples/NAME), and prints one JSON object a line.
Mail is on disk before it is acknowledged; what was pushed and not acknowledged comes again after a reconnect.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import time

import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

LONGEST_WAIT = 30  # seconds between two attempts to reach the node


def say(event, **members):
    print(json.dumps({"event": event, **members}, ensure_ascii=False), flush=True)


class Number(str):
    """A number as it was written: 1.50 is not 1.5 to a signature."""


def canonical(value):
    """Compact JSON with sorted keys: the form that is hashed and signed."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        members = (json.dumps(k, ensure_ascii=False) + ":" + canonical(value[k]) for k in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def signed_text(sender, to, subject, priority, in_reply_to, payload):
    digest = base64.b64encode(hashlib.sha256(canonical(payload).encode()).digest()).decode()
    return f"{sender}|{to}|{subject}|{priority}|{in_reply_to or ''}|{digest}".encode()


def write(path, text, mode=0o600):
    """Replaces a file so that it is whole, and on disk, or not there."""
    beside = path.with_name(f".{path.name}.tmp")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


class Agent:
    def __init__(self, name, api, state):
        self.name, self.api = name, api.rstrip("/")
        self.inbox = state / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.key = self.load_key(state / "private.pem")
        self.registration = self.load_registration(state / "registration.json")
        self.address = self.registration["address"]

    def load_key(self, path):
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write(path, pem.decode())
        return serialization.load_pem_private_key(path.read_bytes(), None)

    def load_registration(self, path):
        if not path.exists():
            public = self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            tenant = requests.get(f"{self.api}/api/organization", timeout=5).json()["organization"]
            answer = self.ask("POST", "/register", key=None, json={
                "name": self.name, "tenant": tenant, "public_key": public.decode(), "key_algorithm": "Ed25519",
            })
            write(path, json.dumps(answer))
        return json.loads(path.read_text())

    def ask(self, method, path, key="api_key", **more):
        headers = more.pop("headers", {})
        if key:
            headers["Authorization"] = f"Bearer {self.registration[key]}"
        answer = requests.request(method, f"{self.api}/v1{path}", headers=headers, timeout=15, **more)
        if not answer.ok:
            raise requests.HTTPError(f"{path}: {answer.status_code} {answer.text}")
        return answer.json()

    def full(self, to):
        """A bare name means one of our own organization. What is signed is always the full address."""
        return to.lower() if "@" in to else f"{to.lower()}@{self.address.split('@')[1]}"

    def send(self, to, subject, text, kind="notification", in_reply_to=None, thread_id=None, once=None):
        """Signs and sends. With `once`, a repeated call is the same message, not another one."""
        to, payload = self.full(to), {"type": kind, "message": text}
        signed = signed_text(self.address, to, subject, "normal", in_reply_to, payload)
        return self.ask("POST", "/route", headers={"Idempotency-Key": once} if once else {}, json={
            "to": to, "subject": subject, "priority": "normal", "payload": payload, "in_reply_to": in_reply_to,
            "thread_id": thread_id, "signature": base64.b64encode(self.key.sign(signed)).decode(),
            "options": {"receipt": True},
        })

    def verified(self, mail):
        """Checks the sender's signature from nothing but what was delivered."""
        envelope, local = mail["envelope"], mail.get("local") or {}
        payload = local.get("original_payload") or mail["payload"]  # foreign mail is fenced; this is as signed
        signed = signed_text(envelope["from"], envelope["to"], envelope["subject"],
                             envelope.get("priority") or "normal", envelope.get("in_reply_to"), payload)
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(mail["sender_public_key"]))
            key.verify(base64.b64decode(envelope["signature"]), signed)
            return True
        except (InvalidSignature, KeyError, TypeError, ValueError):
            return False

    def received(self, mail):
        """Takes a message over: everything here may happen twice, until its file says that it is done."""
        envelope, done = mail["envelope"], self.inbox / f"{mail['id']}.json"
        if done.exists():
            return
        trust = ((mail.get("local") or {}).get("security") or {}).get("trust")
        verified = self.verified(mail)
        if mail["payload"]["type"] == "request" and verified:
            subject = envelope["subject"]
            self.send(envelope["from"], subject if subject.startswith("Re: ") else f"Re: {subject}",
                      f"{self.name} read your message", "response", mail["id"], envelope["thread_id"],
                      once=f"answer-to-{mail['id']}")
        try:
            self.ask("POST", f"/messages/{mail['id']}/read")
        except requests.HTTPError:
            pass  # a read receipt is a courtesy; not every sender can be given one
        write(done, json.dumps(mail, ensure_ascii=False))
        say("mail", id=mail["id"], subject=envelope["subject"], text=mail["payload"]["message"], trust=trust,
            verified=verified, **{"from": envelope["from"]})

    def listen(self):
        wait = 0.5
        while True:
            try:
                with connect(self.api.replace("http", "ws", 1) + "/v1/ws") as socket:
                    socket.send(json.dumps({"type": "auth", "token": self.registration["api_key"]}))
                    for text in socket:
                        frame = json.loads(text, parse_float=Number, parse_int=Number)
                        self.heard(socket, frame)
                        wait = 0.5
            except (OSError, WebSocketException) as error:
                say("disconnected", why=str(error))
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    def heard(self, socket, frame):
        data = frame.get("data") or {}
        if frame["type"] == "message.new":
            self.received(data)
            socket.send(json.dumps({"type": "ack", "id": data["id"]}))
        elif frame["type"] in ("connected", "message.delivered", "message.read"):
            say(frame["type"], **data)
        elif frame["type"] == "error":
            if frame["error"] == "unauthorized":
                raise SystemExit(f"the node knows this key no longer: {frame['message']}")
            say("error", error=frame["error"], message=frame.get("message"))


def main():
    words = argparse.ArgumentParser(description="An agent of an amesh node.")
    words.add_argument("name")
    words.add_argument("--api", default="http://127.0.0.1:23000")
    words.add_argument("--state", type=pathlib.Path)
    does = words.add_subparsers(dest="command", required=True)
    does.add_parser("listen")
    send = does.add_parser("send")
    send.add_argument("to")
    send.add_argument("subject")
    send.add_argument("text")
    send.add_argument("--type", default="request")
    args = words.parse_args()
    state = args.state or pathlib.Path.home() / ".amesh-examples" / args.name
    agent = Agent(args.name, args.api, state)
    if args.command == "listen":
        agent.listen()
    else:
        say("sent", **agent.send(args.to, args.subject, args.text, args.type))


if __name__ == "__main__":
    main()
