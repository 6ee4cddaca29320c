#!/usr/bin/env python3
"""Receives an agent's mail by webhook, with nothing but Python's standard library.

    python receiver.py --secret whsec_… --port 8080

Register the agent with `"delivery": {"webhook_url": "https://…", "webhook_secret": "whsec_…"}`. Every request is checked against
the secret (HMAC-SHA256 over "timestamp.body") and its age; mail is on disk before it is acknowledged, and a repeat of what is
there is acknowledged again and handed on once. One JSON object a line is printed. docs/webhooks.md says what else there is.
"""

import argparse
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import time

OLDEST = 300  # seconds
LONGEST = 2 << 20  # bytes


def say(event, **members):
    print(json.dumps({"event": event, **members}, ensure_ascii=False), flush=True)


def genuine(secret, headers, body):
    """Whether a holder of the secret sent this, lately."""
    timestamp, signature = headers.get("X-AMP-Timestamp", ""), headers.get("X-AMP-Signature", "")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > OLDEST:
        return False
    expected = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    # In constant time: how much of a guess was right must not show.
    return hmac.compare_digest(f"sha256={expected}".encode(), signature.encode())


class Receiver(http.server.BaseHTTPRequestHandler):
    secret = ""
    state = pathlib.Path()
    timeout = 10

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST:
            return self.answer(413, {"error": "payload_too_large"})
        body = self.rfile.read(int(length))
        if not genuine(self.secret, self.headers, body):
            return self.answer(401, {"error": "signature_invalid"})
        try:
            mail = json.loads(body)
            message_id = mail["envelope"]["id"]
            if not re.fullmatch(r"msg[_-][0-9]+[_-][A-Za-z0-9]+", message_id):
                raise ValueError("an id that may not become a file's name")
        except (ValueError, KeyError, TypeError) as error:
            return self.answer(400, {"error": "invalid_request", "message": str(error)})
        # Two senders may use one id: the file is named after both.
        sender = hashlib.sha256(str(mail["envelope"].get("from")).encode()).hexdigest()[:16]
        if self.save(self.state / f"{message_id}.{sender}.json", body):
            envelope = mail["envelope"]
            say("mail", id=message_id, subject=envelope.get("subject"), text=mail.get("payload", {}).get("message"),
                **{"from": envelope.get("from")})
        # It is safe here: the node need not keep it any longer.
        self.answer(200, {"received": True}, acknowledged=True)

    def save(self, path, body):
        """Puts mail on disk; false if it was there."""
        if path.exists():
            return False
        beside = path.with_name(f".{path.name}.tmp")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(body)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)  # whole, or not there
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        return True

    def answer(self, status, body, acknowledged=False):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if acknowledged:
            self.send_header("X-AMP-Acknowledged", "true")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def main():
    words = argparse.ArgumentParser(description="Receives an agent's mail by webhook.")
    words.add_argument("--host", default="127.0.0.1")
    words.add_argument("--port", type=int, default=8080)
    words.add_argument("--secret", default=os.environ.get("AMP_WEBHOOK_SECRET"))
    words.add_argument("--state", type=pathlib.Path, default=pathlib.Path.home() / ".amesh-examples" / "webhook")
    args = words.parse_args()
    if not args.secret:
        words.error("--secret or AMP_WEBHOOK_SECRET is needed")
    args.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    Receiver.secret, Receiver.state = args.secret, args.state
    # One request at a time: mail is handed on in the order in which it came.
    with http.server.HTTPServer((args.host, args.port), Receiver) as server:
        say("listening", url=f"http://{args.host}:{server.server_address[1]}/")
        server.serve_forever()


if __name__ == "__main__":
    main()
