// A live client of convod, written from protocol/SPEC.md alone: streams a WAV file, prints captions and the summary.
//
//   node stream.mjs URL FILE.wav [--realtime]      URL is ws://…, wss://… or unix:PATH; a token is taken from CONVO_TOKEN
//
// In: PCM of 16 bits. Out: finished lines on stdout, partial ones on stderr if that is a terminal, then the summary.
// Exit status: 0 done, 2 usage, 3 no daemon that takes us, 4 audio that cannot be used, 6 the session failed.

import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { decode, encode } from '@msgpack/msgpack';
import WebSocket from 'ws';

const PIECE_S = 0.1; // Audio in a message: short enough for captions to follow speech.
const PING_MS = 5000; // A link that died without a goodbye is only noticed by its silence …
const SILENCE_MS = 15000; // … and that should be before `limits.resume_s` is over.

// What ends the program, with an exit status; `code` is the daemon's.
const fault = (status, message, code) => Object.assign(new Error(message), { status, code });
class Lost extends Error {} // The connection is gone; another one may go on where it stopped.

/** The samples of a WAV file, and what they are. All of them are kept, to send them again after a lost link. */
async function readWav(path) {
  const bad = (why) => fault(4, `${path} ${why}.`);
  const file = await readFile(path).catch(({ code }) => Promise.reject(bad(`cannot be read (${code})`)));
  if (!/^RIFF[^]{4}WAVE$/.test(file.toString('latin1', 0, 12))) throw bad('is no WAV file');
  for (let at = 12, format; at + 8 <= file.length; ) {
    const name = file.toString('latin1', at, at + 4);
    const size = file.readUInt32LE(at + 4);
    const body = file.subarray(at + 8, at + 8 + size); // Or less: who writes into a pipe leaves the largest size here.
    if (name === 'fmt ' && body.length >= 16) {
      // An extensible header (0xfffe) has the true encoding at the beginning of its GUID.
      const encoding = body.readUInt16LE(body.readUInt16LE(0) === 0xfffe && body.length >= 26 ? 24 : 0);
      if (encoding !== 1 || body.readUInt16LE(14) !== 16) throw bad('is not PCM of 16 bits');
      format = { channels: body.readUInt16LE(2), rate: body.readUInt32LE(4) };
    } else if (name === 'data' && format) {
      const frame = 2 * format.channels;
      if (body.length >= frame) return { format, frame, data: body.subarray(0, body.length - (body.length % frame)) };
    }
    at += 8 + size + (size % 2); // Chunks begin at even offsets.
  }
  throw bad('has no samples that can be read');
}

/** Either transport, once it is open or has failed. Calls onMessage(bytes), and onClose(why) at its end. */
async function openWire(url, onMessage, onClose) {
  const path = url.match(/^unix:(.*)/)?.[1];
  const socket = path ? net.connect(path) : new WebSocket(url, 'convo.v1', { handshakeTimeout: SILENCE_MS });
  let why = 'it closed the connection';
  socket.on('error', (error) => (why = error.message || error.code));
  socket.on('close', () => onClose(why));
  socket.on('message', onMessage); // Of a WebSocket.
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk) => { // Of a Unix socket: chunks of a stream end anywhere.
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
      const end = 4 + rest.readUInt32BE(0);
      onMessage(rest.subarray(4, end));
      rest = rest.subarray(end);
    }
  });
  await new Promise((resolve) => ['connect', 'open', 'close'].forEach((event) => socket.once(event, resolve)));
  const send = (bytes) => socket.send(bytes, () => {}); // What went wrong is told by 'close'.
  if (!path) return { send, close: () => socket.close(1000), drop: () => socket.terminate() };
  const head = ({ length: n }) => Buffer.from([n >>> 24, n >>> 16, n >>> 8, n]); // Each is taken modulo 256.
  const write = (bytes) => socket.write(Buffer.concat([head(bytes), bytes]));
  return { send: write, close: () => socket.end(), drop: () => socket.destroy() };
}

/** One connection: requests with their replies; events go to the talk. */
class Link {
  waiting = new Map(); // Requests in flight by id; hello has none.
  nextId = 1;
  heardAt = Date.now();
  welcomed = false;
  error = null; // Why it ended.

  static async open(url, talk) {
    const link = Object.assign(new Link(), { talk });
    const gone = (why) => link.fail(new Lost(`There is no daemon at ${url}: ${clean(why)}.`));
    link.wire = await openWire(url, (bytes) => link.receive(bytes), gone);
    const pulse = setInterval(() => {
      if (link.error) clearInterval(pulse);
      else if (Date.now() - link.heardAt > SILENCE_MS) gone('it fell silent');
      else if (link.welcomed) link.request('ping').catch(() => {}); // Nothing may be sent before the welcome.
    }, PING_MS).unref(); // It keeps no program from its end.
    return link;
  }

  /** Everybody who waits for something on this link gets the error. */
  fail(error) {
    this.error ??= error;
    for (const { reject } of this.waiting.values()) reject(this.error);
    this.wire?.drop();
    this.talk.wake();
  }

  request(type, fields) {
    const id = type === 'hello' ? undefined : this.nextId++;
    this.send({ type, id, ...fields });
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  send(message) {
    if (this.error) throw this.error;
    this.wire.send(encode(message, { ignoreUndefined: true })); // A field left out has its default.
  }

  receive(bytes) {
    this.heardAt = Date.now();
    try {
      const message = decode(bytes);
      this.welcomed ||= message.type === 'welcome';
      if (message.type === 'error') this.refused(message);
      else if (['ok', 'welcome'].includes(message.type)) this.waiting.get(message.id)?.resolve(message);
      else return this.talk.event(message, this);
      this.waiting.delete(message.id);
    } catch (error) {
      this.fail(fault(this.welcomed ? 6 : 3, `What the daemon sent is not of this protocol: ${error.message}.`));
    }
  }

  refused({ id, session, code, message }) {
    const refusal = fault(/_audio$/.test(code) ? 4 : this.welcomed ? 6 : 3, clean(message), code);
    if (this.waiting.has(id) && id !== undefined) this.waiting.get(id).reject(refusal);
    // The daemon has no room, or tripped: the session outlives that.
    else if (!session && ['busy', 'internal'].includes(code)) this.fail(new Lost(refusal.message));
    else this.fail(refusal);
  }
}

/** One session, over as many connections as it takes. */
class Talk {
  key = randomUUID(); // If the reply to create_session is lost, asking again gets the same session.
  afterSeq = 0; // Number of the last durable event that was dealt with.
  limit = 0; // No byte at or beyond this may be sent. It only grows.
  wake = () => {};

  /** Waits for more credit, another state, or the loss of the link. */
  async change(link) {
    if (!link.error) await new Promise((resolve) => (this.wake = resolve));
    if (link.error) throw link.error;
  }

  event(message, link) {
    if (message.seq <= this.afterSeq) return; // Told before the link was lost.
    this.afterSeq = message.seq ?? this.afterSeq;
    if (message.type === 'audio_ack') this.limit = Math.max(this.limit, message.offset + message.credit);
    if (message.type === 'transcript_partial') partial(`${message.stable} ${message.tentative}`);
    if (message.type === 'transcript_segment') say(process.stdout, `${clock(message.start)}  ${clean(message.text)}`);
    if (message.type === 'final_summary') say(process.stdout, summary(message));
    if (message.type === 'warning') say(process.stderr, clean(message.message));
    if (message.type === 'session_state') this.state = message.state;
    const over = { failed: 'The session failed.', cancelled: 'The session was cancelled.' }[this.state];
    if (over) link.fail(fault(6, clean(message.message ?? over)));
    this.wake();
  }

  /** Everything that is left to do, on this connection. */
  async run(link, wav, { realtime, token }) {
    ({ limits: this.limits } = await link.request('hello', { protocol: 1, client: 'stream.mjs/1.0', token }));
    const ok = this.id
      ? await link.request('attach', { session: this.id, after_seq: this.afterSeq, produce: true })
      : await link.request('create_session', { kind: 'live', key: this.key, audio: wav.format });
    this.id ??= ok.session;
    // The end may have been heard already, on the link that was lost.
    if (!ok.ended) await this.speak(link, wav, ok, realtime);
    while (this.state !== 'completed') await this.change(link);
  }

  /** All audio that the daemon has not, and the end. */
  async speak(link, { format: { rate }, frame, data }, { audio_offset: stored = 0, credit }, realtime) {
    const piece = Math.min(Math.round(PIECE_S * rate) * frame, this.limits.message_bytes - 1024);
    let sent = stored; // What was sent beyond that has gone with the link.
    this.limit = Math.max(this.limit, sent + credit);
    for (let due = performance.now(); sent < data.length; ) {
      // With little credit send little: the daemon need not grant as much as a whole piece at once.
      const room = Math.min(piece, data.length - sent, this.limit - sent);
      const length = room - (room % 2); // Whole samples; a frame of several channels may be split.
      if (length > 0) {
        link.send({ type: 'audio', session: this.id, offset: sent, data: data.subarray(sent, sent + length) });
        sent += length;
        due += (length / frame / rate) * 1000;
        if (realtime) await sleep(Math.max(0, due - performance.now()));
      } else await this.change(link);
    }
    this.ended = true;
    await link.request('end_session', { session: this.id });
  }
}

// Text from the other side, without anything that a terminal would obey.
const clean = (text) => String(text).replace(/[\p{Cc}\u2028-\u202e\u2066-\u2069]+/gu, ' ').trim();
const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19).replace(/^00:/, '');

function partial(text) {
  const columns = (process.stderr.columns || 80) - 1; // It must not wrap, and what is new is at its end.
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${[...clean(text)].slice(-columns).join('')}`);
}

function say(stream, text) {
  partial('');
  stream.write(`${text}\n`);
}

function summary({ title, summary: text, key_points: points, action_items: actions }) {
  const tasks = actions.map(({ text, owner, due }) => `[ ] ${[text, owner, due].filter(Boolean).join(' | ')}`);
  return ['', title, text, ...points.map((point) => `- ${point}`), ...tasks].map(clean).join('\n');
}

function usage() {
  try {
    const options = { realtime: { type: 'boolean' } };
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const known = ['ws:', 'wss:', 'unix:'].includes(new URL(positionals[0]).protocol);
    if (known && positionals.length === 2) return [...positionals, values];
  } catch {} // An option or a URL that is none.
  throw fault(2, 'usage: node stream.mjs URL FILE.wav [--realtime]');
}

async function main() {
  const [url, path, options] = usage();
  const wav = await readWav(path);
  const talk = new Talk();
  for (let delay = 100, lostAt = 0; ; delay = Math.min(2 * delay, 2000)) {
    const link = await Link.open(url, talk);
    try {
      await talk.run(link, wav, { ...options, token: process.env.CONVO_TOKEN });
      return link.wire.close();
    } catch (error) {
      link.fail(error);
      if (!(error instanceof Lost)) throw error;
      if (!talk.limits) throw fault(3, error.message);
    }
    if (link.welcomed) {
      say(process.stderr, 'The link was lost; connecting again.');
      [delay, lostAt] = [100, Date.now()];
      // After `resume_s` without its client the daemon ends the session and takes no more audio.
    } else if (Date.now() - lostAt > talk.limits.resume_s * 1000) throw fault(3, 'The daemon did not come back.');
    await sleep(delay);
  }
}

process.stdout.on('error', () => process.exit(0)); // Nobody reads any more.
main().catch((error) => {
  say(process.stderr, error.status ? error.message : error.stack);
  process.exitCode = error.status ?? 1;
});
