#!/usr/bin/env node
// An agent of an amesh node, in Node.js: it answers every request, and asks for receipts of what it sends.
//
//     npm install            # only `ws`, and only for Node.js before 22, which has no WebSocket of its own
//     node agent.mjs nod listen
//     node agent.mjs nod send bob "Build" "Is it green?"
//
// It keeps its key, its registration and its mail in --state (~/.amesh-examples/NAME), and prints one JSON object a line.
// Mail is on disk before it is acknowledged; what was pushed and not acknowledged comes again after a reconnect.

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const WebSocket = globalThis.WebSocket ?? (await import('ws')).default;
const LONGEST_WAIT = 30_000; // milliseconds between two attempts to reach the node
const QUIET = 30_000; // milliseconds after which the node is asked whether it is still there

const say = (event, members) => console.log(JSON.stringify({ event, ...members }));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// A number as it was written: 1.50 is not 1.5 to a signature.
class Num {
  constructor(text) { this.text = text; }
  toJSON() { return Number(this.text); }
}

// JSON.parse, but numbers keep their text.
function parse(text) {
  const token = /\s*([{}[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}[\],:"]+)/y;
  const next = () => token.exec(text)?.[1] ?? null;
  const value = (word) => {
    if (word === '{') {
      const object = Object.create(null);
      for (let name = next(); name !== '}'; name = next()) {
        if (name === ',') continue;
        next(); // the colon
        object[JSON.parse(name)] = value(next());
      }
      return object;
    }
    if (word === '[') {
      const list = [];
      for (let item = next(); item !== ']'; item = next()) if (item !== ',') list.push(value(item));
      return list;
    }
    return /^[-\d]/.test(word) ? new Num(word) : JSON.parse(word);
  };
  JSON.parse(text); // what is no JSON ends here
  return value(next());
}

// Compact JSON with keys sorted by code point: the form that is hashed and signed.
function canonical(value) {
  if (value instanceof Num) return value.text;
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const keys = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`;
}

function signedText(from, to, subject, priority, inReplyTo, payload) {
  const hash = createHash('sha256').update(canonical(payload)).digest('base64');
  return Buffer.from(`${from}|${to}|${subject}|${priority}|${inReplyTo ?? ''}|${hash}`);
}

// Replaces a file so that it is whole, and on disk, or not there.
function write(path, text) {
  const beside = `${path}.tmp`;
  const file = openSync(beside, 'w', 0o600);
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
  renameSync(beside, path);
  const directory = openSync(dirname(path), 'r');
  fsyncSync(directory);
  closeSync(directory);
}

class Refused extends Error {}

class Agent {
  static async load(name, api, state) {
    const agent = new Agent();
    Object.assign(agent, { name, api: api.replace(/\/$/, ''), inbox: join(state, 'inbox') });
    mkdirSync(agent.inbox, { recursive: true, mode: 0o700 });
    const keyFile = join(state, 'private.pem');
    if (!existsSync(keyFile)) {
      write(keyFile, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
    }
    agent.key = createPrivateKey(readFileSync(keyFile));
    const registration = join(state, 'registration.json');
    if (!existsSync(registration)) write(registration, JSON.stringify(await agent.register()));
    agent.registration = JSON.parse(readFileSync(registration, 'utf8'));
    agent.address = agent.registration.address;
    return agent;
  }

  async register() {
    const { organization } = await (await fetch(`${this.api}/api/organization`)).json();
    const public_key = createPublicKey(this.key).export({ type: 'spki', format: 'pem' });
    return this.ask('POST', '/register', {
      name: this.name, tenant: organization, public_key, key_algorithm: 'Ed25519',
    });
  }

  async ask(method, path, body, headers = {}) {
    if (this.registration) headers.Authorization = `Bearer ${this.registration.api_key}`;
    if (body) headers['Content-Type'] = 'application/json';
    const answer = await fetch(`${this.api}/v1${path}`, {
      method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(15_000),
    });
    if (!answer.ok) throw new Refused(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  // A bare name means one of our own organization. What is signed is always the full address.
  full(to) {
    return to.includes('@') ? to.toLowerCase() : `${to.toLowerCase()}@${this.address.split('@')[1]}`;
  }

  // Signs and sends. With `once`, a repeated call is the same message, not another one.
  send(to, subject, message, { type = 'notification', in_reply_to = null, thread_id = null, once } = {}) {
    to = this.full(to);
    const payload = { message, type };
    const signature = sign(null, signedText(this.address, to, subject, 'normal', in_reply_to, payload), this.key);
    return this.ask('POST', '/route', {
      to, subject, priority: 'normal', payload, in_reply_to, thread_id,
      signature: signature.toString('base64'), options: { receipt: true },
    }, once ? { 'Idempotency-Key': once } : {});
  }

  // Checks the sender's signature from nothing but what was delivered.
  verified({ envelope, payload, local, sender_public_key }) {
    if (!envelope.signature || !sender_public_key) return false;
    const x = Buffer.from(sender_public_key, 'hex').toString('base64url');
    const signed = signedText(envelope.from, envelope.to, envelope.subject, envelope.priority ?? 'normal',
      envelope.in_reply_to, local?.original_payload ?? payload); // foreign mail is fenced; this is as signed
    try {
      const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
      return verify(null, signed, key, Buffer.from(envelope.signature, 'base64'));
    } catch {
      return false;
    }
  }

  // Takes a message over: everything here may happen twice, until its file says that it is done.
  async received(mail) {
    const { id, envelope, payload, local } = mail;
    const done = join(this.inbox, `${id}.json`);
    if (existsSync(done)) return;
    const verified = this.verified(mail);
    if (payload.type === 'request' && verified) {
      const subject = envelope.subject.startsWith('Re: ') ? envelope.subject : `Re: ${envelope.subject}`;
      await this.send(envelope.from, subject, `${this.name} read your message`, {
        type: 'response', in_reply_to: id, thread_id: envelope.thread_id, once: `answer-to-${id}`,
      });
    }
    await this.ask('POST', `/messages/${id}/read`).catch((error) => {
      if (!(error instanceof Refused)) throw error; // a read receipt is a courtesy; not every sender can be given one
    });
    write(done, canonical(mail));
    const { from, subject } = envelope;
    say('mail', { id, from, subject, text: payload.message, trust: local?.security?.trust, verified });
  }

  async heard(socket, frame) {
    const data = frame.data ?? {};
    if (frame.type === 'message.new') {
      await this.received(data);
      socket.send(JSON.stringify({ type: 'ack', id: data.id }));
    } else if (['connected', 'message.delivered', 'message.read'].includes(frame.type)) {
      say(frame.type, data);
    } else if (frame.type === 'error') {
      if (frame.error === 'unauthorized') throw new Error('the node knows this key no longer');
      say('error', { error: frame.error, message: frame.message });
    }
  }

  // One connection, from its beginning to its end. Frames are dealt with one after the other, in order.
  connected() {
    return new Promise((resolve) => {
      const socket = new WebSocket(`${this.api.replace('http', 'ws')}/v1/ws`);
      let work = Promise.resolve();
      let heardAt = Date.now();
      const look = setInterval(() => {
        if (Date.now() - heardAt > 2 * QUIET) socket.close();
        else if (Date.now() - heardAt > QUIET) socket.send(JSON.stringify({ type: 'ping' }));
      }, QUIET / 3);
      socket.addEventListener('open', () => {
        socket.send(JSON.stringify({ type: 'auth', token: this.registration.api_key }));
      });
      socket.addEventListener('message', ({ data }) => {
        heardAt = Date.now();
        work = work.then(() => this.heard(socket, parse(data))).catch((error) => {
          say('trouble', { why: error.message });
          socket.close();
          throw error; // what comes after it waits for the next connection: mail is answered in order
        });
        work.catch(() => {});
      });
      socket.addEventListener('error', () => {});
      socket.addEventListener('close', ({ code }) => {
        clearInterval(look);
        say('disconnected', { code });
        work.finally(() => resolve()).catch(() => {});
      });
    });
  }

  async listen() {
    for (let wait = 500; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
      const begun = Date.now();
      await this.connected();
      if (Date.now() - begun > 5_000) wait = 500;
      await pause(wait);
    }
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    api: { type: 'string', default: 'http://127.0.0.1:23000' },
    state: { type: 'string' },
    type: { type: 'string', default: 'request' },
  },
});
const [name, command, ...rest] = positionals;
if (!name || !(command === 'listen' || (command === 'send' && rest.length === 3))) {
  console.error('usage: node agent.mjs NAME [--api URL] [--state DIR] (listen | send TO SUBJECT TEXT [--type TYPE])');
  process.exit(2);
}
const agent = await Agent.load(name, values.api, values.state ?? join(homedir(), '.amesh-examples', name));
if (command === 'listen') await agent.listen();
else say('sent', await agent.send(...rest, { type: values.type }));
