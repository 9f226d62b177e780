// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
/**
 * A client of tidegate servers in one file, to be copied: Node.js 18 or later, nothing but its standard library.
 *
 *     const client = await Client.connect('127.0.0.1:7411', { timeout: 5000 });
 *     console.log(String(await client.request(1, 'hello')));              // one request, one reply
 *     const sent = bodies.map((body) => client.request(1, body));         // many, before any reply is awaited
 *     console.log(await Promise.all(sent));
 *     await client.close();
 *
 * It checks every length before it takes memory and every CRC before it believes a byte, and answers PING at any time.
 * A promise rejects with StatusError (the server's answer), EndedError (the connection ended first), TimeoutError or
 * ProtocolError (what came is damaged); `notProcessed` of each tells whether the same request may safely be sent again.
 * Whoever sends much awaits `client.room()` now and then, so that what is queued stays bounded.
 *
 * It never reconnects or retries by itself, and has no TLS, topics, or text lines.
 * From the shell: `node tidegate.js 127.0.0.1:7411 --route 1 hello`. The protocol: docs/PROTOCOL.md.
 */

const net = require('node:net');

const EXT = 0x8000, CONTROL = 0x4000, ROUTE_MAX = 0x3fff;
const PING = 0x4000, PONG = 0x4001, HELLO = 0x4002, WELCOME = 0x4003, ERROR = 0x4004, GOAWAY = 0x4005, NOTICE = 0x400c;
const CLIENT_ONLY = [HELLO, 0x4006, 0x4007, 0x4008];

const STATUS_NAMES = ('OK PROTOCOL UNAUTHENTICATED FORBIDDEN NO_ROUTE OVERLOADED UNAVAILABLE OUTCOME_UNKNOWN '
  + 'DEADLINE_EXCEEDED DRAINING INTERNAL SLOW_CONSUMER REPLACED IDLE TOO_LARGE UNSUPPORTED').split(' ');
const DRAINING = 9;
/** Replies that promise that nothing was done: OVERLOADED, UNAVAILABLE, DEADLINE_EXCEEDED, DRAINING. */
const NOT_PROCESSED = new Set([5, 6, 8, DRAINING]);
/** A last GOAWAY with one of these stands behind the replies to all that was processed: PROTOCOL, UNAUTHENTICATED,
 *  DRAINING, IDLE, TOO_LARGE, UNSUPPORTED. */
const ANSWERED_FIRST = new Set([1, 2, DRAINING, 13, 14, 15]);

const BLOCK_MAX = 1020; // bytes that a payload with an extension block may have beyond the limit on bodies
const CONTROL_MAX = 4096; // bytes of a control frame's payload in front of WELCOME
const QUEUED_MAX = 256 * 1024; // bytes: room() waits while more are queued
const BATCH_BYTES = 64 * 1024; // small frames are written together up to so much
const OPEN_MAX = 65_536; // requests that may be open; one more is refused
const TIMEOUT_MAX = 2 ** 31 - 1; // milliseconds that a timer can wait

class TidegateError extends Error {
  constructor(message, notProcessed = false) {
    super(message);
    this.name = new.target.name;
    this.notProcessed = notProcessed;
  }
}

/** The server's answer to this request is a failure. The connection stays. */
class StatusError extends TidegateError {
  constructor(status, text, retryAfterMs) {
    super(`${statusName(status)} (${status}): ${text}`, NOT_PROCESSED.has(status));
    Object.assign(this, { status, text, retryAfterMs });
  }
}

/** The connection ended before the reply came. `goaway` says why, if the server said so. */
class EndedError extends TidegateError {
  constructor(why, goaway, notProcessed) {
    const fate = notProcessed ? 'the request was not processed' : 'whether the request was processed is unknown';
    super(`${why}; ${fate}`, notProcessed);
    this.goaway = goaway;
  }
}

/** No reply within the timeout. It may still come, and is then dropped; the connection stays. */
class TimeoutError extends TidegateError {}

/** What came is no protocol: damaged, over a limit, or from no tidegate server. `reason` is one of "Why a connection
 *  ends" in docs/PROTOCOL.md, or bad_reply: a reply to no request. */
class ProtocolError extends TidegateError {
  constructor(reason, text) {
    super(text);
    this.reason = reason;
  }
}

function statusName(status) {
  return STATUS_NAMES[status] ?? (status < 256 ? 'INTERNAL' : 'APPLICATION');
}

/** CRC-32/ISO-HDLC by a table; zlib.crc32 is not there before Node.js 20.15. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) crc = CRC_TABLE[(crc ^ bytes[at]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0; // >>> 0: unsigned
}

/** A whole frame of a header and payload parts. */
function encode(header, ...parts) {
  const head = Buffer.alloc(6);
  head.writeUInt16BE(header, 0);
  head.writeUInt32BE(parts.reduce((sum, part) => sum + part.length, 0), 2);
  const frame = Buffer.concat([head, ...parts, Buffer.alloc(4)]);
  frame.writeUInt32BE(crc32(frame.subarray(0, -4)), frame.length - 4);
  return frame;
}

/** Cuts a stream into checked frames; how the stream was split does not matter. A fault is final. */
class Decoder {
  constructor(maxPayload) {
    Object.assign(this, { maxPayload, maxControl: CONTROL_MAX, chunks: [], bytes: 0 });
  }

  feed(data) {
    this.chunks.push(data);
    this.bytes += data.length;
  }

  /** Bytes of the frame that is incomplete, as far as they are known; 0: there is none. */
  needs() {
    if (this.bytes === 0) return 0;
    return this.bytes < 6 ? 6 : 10 + this.front(6).readUInt32BE(2);
  }

  /** The next frame as { header, payload }, or null until more was fed. */
  next() {
    if (this.bytes < 6) return null;
    const head = this.front(6);
    const header = head.readUInt16BE(0), length = head.readUInt32BE(2);
    const limit = header & CONTROL ? this.maxControl : this.maxPayload + (header & EXT ? BLOCK_MAX : 0);
    if (length > limit) {
      throw new ProtocolError('too_large', `a frame of ${length} bytes is over the limit of ${limit}`);
    }
    if (this.bytes < length + 10) return null;
    const all = this.front(length + 10);
    const end = length + 6;
    if (crc32(all.subarray(0, end)) !== all.readUInt32BE(end)) {
      throw new ProtocolError('bad_crc', "a frame's CRC is wrong: the stream is damaged");
    }
    this.chunks[0] = all.subarray(end + 4);
    this.bytes -= end + 4;
    return { header, payload: all.subarray(6, end) };
  }

  /** The first chunk, made to hold at least so many bytes; whole frames are put together once, not at each chunk. */
  front(bytes) {
    if (this.chunks[0].length < bytes) this.chunks = [Buffer.concat(this.chunks)];
    return this.chunks[0];
  }
}

function parseTags(data, reason) {
  const found = [];
  for (let at = 0; at < data.length;) {
    if (data[at] === 0) { // padding
      at += 1;
      continue;
    }
    const end = at + 2 + data[at + 1]; // NaN if there is no length
    if (!(end <= data.length)) throw new ProtocolError(reason, 'a tag is cut');
    found.push({ tag: data[at], value: data.subarray(at + 2, end) });
    at = end;
  }
  return found;
}

/** The extension block at the front of a payload whose header has EXT; the body begins behind its `size`. */
function parseBlock(payload) {
  const bad = (text) => new ProtocolError('bad_extension', text);
  const size = 4 * (payload[0] ?? 0);
  if (size === 0 || size > payload.length) throw bad('an extension block is longer than its payload, or has no length');
  const flags = payload[1];
  const fieldsEnd = 4 + (flags & 1 ? 8 : 0) + (flags & 2 ? 4 : 0) + (flags & 4 ? 28 : 0);
  if (fieldsEnd > size) throw bad('an extension block is shorter than its fields');
  if (flags & 4 && payload.readUIntBE(fieldsEnd - 3, 3) !== 0) throw bad('a trace does not end with three zeros');
  const correlation = flags & 1 ? payload.readBigUInt64BE(4) : null;
  const block = { size, status: payload.readUInt16BE(2), correlation, tags: [] };
  if (flags & 0x70) return block; // reserved: what lies behind the known fields can't be read, the rest can
  if (!(flags & 0x80) && fieldsEnd !== size) throw bad('bytes behind the last field of an extension block');
  block.tags = parseTags(payload.subarray(fieldsEnd, size), 'bad_extension');
  const sizes = { 1: 4, 2: 2 };
  if (block.tags.some(({ tag, value }) => value.length !== (sizes[tag] ?? value.length))) {
    throw bad('a tag has the wrong size');
  }
  return block;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text behind the numbers of ERROR, GOAWAY and NOTICE. */
function parseText(payload, numbers) {
  try {
    if (payload.length >= numbers) return UTF8.decode(payload.subarray(numbers));
  } catch { /* told below */ }
  throw new ProtocolError('bad_control', 'a control frame is too short, or its text is not UTF-8');
}

function parseWelcome(payload) {
  const ids = [];
  let at = 10;
  for (let number = 0; number < 2; number++) {
    const end = at + 1 + payload[at]; // NaN if there is no length
    const id = end <= payload.length ? payload.toString('latin1', at + 1, end) : '';
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) throw new ProtocolError('bad_control', 'WELCOME has an id that is none');
    ids.push(id);
    at = end;
  }
  parseTags(payload.subarray(at), 'bad_control');
  const [maxPayload, heartbeatMs] = [payload.readUInt32BE(2), payload.readUInt32BE(6)];
  return { version: payload[0], maxPayload, heartbeatMs, serverId: ids[0], clientId: ids[1] };
}

/**
 * A connection. `welcome` and `goaway` are what the server said, or null; set `onNotice` to be told its notices as
 * { status, header, text }.
 */
class Client {
  welcome = null;
  goaway = null;
  onNotice = () => {};
  #options; #socket; #decoder; #beat;
  #slots = [];
  #correlated = new Map();
  #serial = 0n;
  #end = null; // the error of whatever is asked for behind the end
  #pongs = 0;
  #queue = []; // of what the socket was not given yet
  #queued = 0; // bytes, with those that the socket was given and has not sent yet
  #isWriting = false;
  #heard = Date.now();
  #asked = 0;
  #waiting = new Set(); // checks of #until

  /**
   * Connects to HOST:PORT or unix:PATH. Options: `timeout` of each call, in milliseconds (10,000); `maxPayload`, bytes
   * of a reply's body (2 MiB); `hello`, `token` or `clientId` say HELLO and wait for WELCOME; `pingAfter`, milliseconds
   * of the server's silence until it is asked for life; after twice that the connection ends.
   */
  static async connect(address, options = {}) {
    const client = new Client();
    try {
      await client.#open(address, { timeout: 10_000, maxPayload: 2 << 20, token: '', clientId: '', ...options });
    } catch (error) {
      client.abort();
      throw error;
    }
    return client;
  }

  async #open(address, options) {
    this.#options = options;
    this.#decoder = new Decoder(options.maxPayload);
    const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
    const path = address.startsWith('unix:') ? address.slice(5) : null;
    if (!path && !port) throw new TypeError(`${address} is neither HOST:PORT nor unix:PATH`);
    this.#socket = net.connect(path ? { path } : { host, port: Number(port), noDelay: true });
    let cause = null;
    this.#socket.on('error', (error) => { cause = error; }); // 'close' comes behind it
    this.#socket.on('close', () => this.#fail(cause ? `the connection was lost: ${cause.message}` : this.#whyEnded()));
    this.#socket.on('data', (data) => this.#read(data));
    this.#socket.on('connect', () => this.#look());
    await this.#until(() => this.#socket.readyState === 'open').catch((error) => { throw cause ?? error; });
    this.#heard = Date.now();
    if (options.pingAfter) this.#beat = setInterval(() => this.#askForLife(), options.pingAfter / 4).unref();
    if (!options.hello && !options.token && !options.clientId) return;
    const [id, token, head, length, tag] = [Buffer.from(options.clientId), Buffer.from(options.token),
      Buffer.from([1, 0, 0]), Buffer.alloc(2), Buffer.from([1, 4, 0, 0, 0, 0])];
    head[2] = id.length;
    length.writeUInt16BE(token.length);
    tag.writeUInt32BE(options.maxPayload, 2); // max_receive
    this.#put(encode(HELLO, head, id, length, token, tag));
    await this.#until(() => this.welcome);
  }

  /**
   * Sends a request; the promise is that of the reply's body, a Buffer. Options: `correlate`, its reply may overtake
   * others; `deadlineMs`, what the server may take for it; `timeout` in milliseconds.
   */
  request(route, body, options = {}) {
    return new Promise((resolve, reject) => {
      if (this.#slots.length + this.#correlated.size >= OPEN_MAX) {
        throw new RangeError(`${OPEN_MAX} requests are open, which is the limit`);
      }
      const correlation = options.correlate ? ++this.#serial : null;
      const frame = this.#frame(route, body, correlation, options.deadlineMs, false);
      const timeout = Math.min(options.timeout ?? this.#options.timeout, TIMEOUT_MAX);
      const pending = { header: frame.readUInt16BE(0), resolve, reject, isUnsent: true };
      pending.timer = setTimeout(() => reject(new TimeoutError(
        `no reply within ${timeout} ms; whether the request was processed is unknown`)), timeout);
      if (correlation === null) this.#slots.push(pending);
      else this.#correlated.set(correlation, pending);
      this.#put(frame, pending);
    });
  }

  /** Sends what is never answered. That it was taken is not known. */
  oneWay(route, body) {
    this.#put(this.#frame(route, body, null, undefined, true));
  }

  /** Milliseconds until the server's PONG came. */
  async ping(timeout) {
    const began = performance.now(), want = this.#pongs + 1;
    this.#put(encode(PING, Buffer.from('ping')));
    await this.#until(() => this.#pongs >= want, timeout);
    return performance.now() - began;
  }

  /** Waits until no more than 256 KiB are queued to be sent. */
  room(timeout) {
    return this.#until(() => this.#queued <= QUEUED_MAX, timeout);
  }

  /** Ends in order: what was sent leaves, and the stream is read to its end, within the timeout. */
  async close(timeout) {
    await this.#until(() => this.#queued === 0, timeout).catch(() => {});
    this.#socket.end();
    await this.#until(() => this.#end, timeout).catch(() => {});
    this.abort();
  }

  /** Ends at once. */
  abort() {
    this.#fail('the client closed the connection');
    this.#socket?.destroy();
  }

  #frame(route, body, correlation, deadlineMs, isOneWay) {
    if (!Number.isInteger(route) || route < 0 || route > ROUTE_MAX) {
      throw new RangeError(`route ${route} is not in 0..=${ROUTE_MAX}`);
    }
    const bytes = Buffer.from(body);
    if (this.welcome && bytes.length > this.welcome.maxPayload) {
      throw new RangeError(`a body of ${bytes.length} bytes is over the server's limit of ${this.welcome.maxPayload}`);
    }
    if (this.goaway && !this.#end) throw new EndedError('the server is going away', this.goaway, true);
    if (correlation === null && deadlineMs === undefined && !isOneWay) return encode(route, bytes);
    const block = Buffer.alloc(4 + (correlation === null ? 0 : 8) + (deadlineMs === undefined ? 0 : 4));
    block[0] = block.length / 4;
    block[1] = (correlation === null ? 0 : 1) | (deadlineMs === undefined ? 0 : 2) | (isOneWay ? 8 : 0);
    if (correlation !== null) block.writeBigUInt64BE(correlation, 4);
    if (deadlineMs !== undefined) block.writeUInt32BE(deadlineMs, block.length - 4);
    return encode(EXT | route, block, bytes);
  }

  #put(frame, pending = null) {
    if (this.#end) throw new EndedError('the connection has ended', this.goaway, true);
    this.#queue.push({ frame, pending });
    this.#queued += frame.length;
    if (this.#queue.length === 1) process.nextTick(() => this.#write()); // frames of one tick leave together
  }

  /** Hands a batch to the socket; what is behind it has surely not been sent, of itself nobody can say. */
  #write() {
    if (this.#isWriting || this.#queue.length === 0 || this.#socket.destroyed) return;
    let count = 0, bytes = 0;
    while (count < this.#queue.length && bytes < BATCH_BYTES) bytes += this.#queue[count++].frame.length;
    const batch = this.#queue.splice(0, count);
    for (const { pending } of batch) if (pending) pending.isUnsent = false;
    this.#isWriting = true;
    this.#socket.write(count === 1 ? batch[0].frame : Buffer.concat(batch.map(({ frame }) => frame), bytes), () => {
      this.#isWriting = false;
      this.#queued -= bytes;
      this.#write();
      this.#look();
    });
  }

  /** Resolves when something is so, which is looked at whenever something has happened to the connection. */
  #until(isSo, timeout = this.#options.timeout) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!isSo() && !this.#end) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        if (isSo()) resolve();
        else reject(this.#end);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new TimeoutError(`no answer within ${timeout} ms`));
      }, Math.min(timeout, TIMEOUT_MAX));
      this.#waiting.add(look);
      look();
    });
  }

  #askForLife() {
    const silence = Date.now() - this.#heard;
    if (silence >= 2 * this.#options.pingAfter) {
      this.#fail('the server is silent');
      this.#socket.destroy();
    } else if (silence >= this.#options.pingAfter && this.#asked !== this.#heard) {
      this.#asked = this.#heard;
      this.#put(encode(PING, Buffer.from('life')));
    }
  }

  #read(data) {
    if (this.#end) return;
    try {
      this.#decoder.feed(data);
      for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) {
        this.#heard = Date.now();
        if (frame.header & CONTROL) this.#onControl(frame.header, frame.payload);
        else this.#onReply(frame.header, frame.payload);
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error.message, error);
      this.#socket.destroy();
    }
    this.#look();
  }

  #look() {
    for (const look of [...this.#waiting]) look();
  }

  #onReply(header, payload) {
    if (!(header & EXT)) return this.#answerSlot(header, payload);
    const { size, status, correlation, tags } = parseBlock(payload);
    const body = payload.subarray(size);
    const retryAfter = tags.find(({ tag }) => tag === 1)?.value.readUInt32BE();
    const outcome = status === 0 ? body : new StatusError(status, String(body), retryAfter);
    if (correlation === null) return this.#answerSlot(header, outcome);
    const pending = this.#correlated.get(correlation);
    if (pending?.header !== header) throw new ProtocolError('bad_reply', 'a reply came to no request of ours');
    this.#correlated.delete(correlation);
    settle(pending, outcome);
  }

  /** The reply to the oldest request without a correlation; ERROR has no route. */
  #answerSlot(header, outcome) {
    if (this.#slots.length === 0 || (header !== null && header !== this.#slots[0].header)) {
      throw new ProtocolError('bad_reply', 'a reply came to no request of ours');
    }
    settle(this.#slots.shift(), outcome);
  }

  #onControl(header, payload) {
    if (header === PING) { // where much is queued, the frames in front of a PONG are life enough
      if (this.#queued <= 2 * QUEUED_MAX) this.#put(encode(PONG, payload));
    } else if (header === PONG) {
      if (String(payload) === 'ping') this.#pongs += 1;
    } else if (header === ERROR) {
      const text = parseText(payload, 2);
      this.#answerSlot(null, new StatusError(payload.readUInt16BE(0), text));
    } else if (header === GOAWAY) {
      const text = parseText(payload, 6);
      this.goaway = { status: payload.readUInt16BE(0), reconnectAfterMs: payload.readUInt32BE(2), text };
    } else if (header === WELCOME) {
      this.welcome = parseWelcome(payload);
      this.#decoder.maxControl = Math.max(CONTROL_MAX, this.#options.maxPayload + 512);
    } else if (header === NOTICE) {
      const text = parseText(payload, 4);
      this.onNotice({ status: payload.readUInt16BE(0), header: payload.readUInt16BE(2), text });
    } else if (CLIENT_ONLY.includes(header)) {
      throw new ProtocolError('wrong_direction', `the server sent ${header.toString(16)}, which only clients send`);
    }
  }

  #whyEnded() {
    if (!this.goaway) return 'the server ended the connection without a word';
    return `the server ended the connection: ${statusName(this.goaway.status)}: ${this.goaway.text}`;
  }

  /** The end: every open request learns what is known of it. */
  #fail(why, error) {
    if (this.#end) return;
    clearInterval(this.#beat);
    const status = this.goaway?.status;
    // A drain is told at once to who said HELLO, so there the replies come behind it, or not at all.
    const answeredFirst = ANSWERED_FIRST.has(status) && !(status === DRAINING && this.welcome);
    this.#end = error ?? new EndedError(why, this.goaway, answeredFirst);
    for (const pending of [...this.#slots, ...this.#correlated.values()]) {
      settle(pending, error ?? new EndedError(why, this.goaway, answeredFirst || pending.isUnsent));
    }
    this.#slots = [];
    this.#correlated.clear();
    this.#look();
  }
}

function settle(pending, outcome) {
  clearTimeout(pending.timer);
  if (outcome instanceof Error) pending.reject(outcome);
  else pending.resolve(outcome);
}

module.exports = {
  Client, Decoder, ProtocolError, StatusError, EndedError, TimeoutError, TidegateError,
  crc32, encode, parseBlock, parseText, parseWelcome,
};

const USAGE = `Usage: node tidegate.js HOST:PORT|unix:PATH [OPTIONS] BODY...
  --route N         0 to 16383 (default: 1)
  --deadline-ms N   what the server may take for each, in milliseconds
  --correlate       replies may come in any order
  --one-way         no reply is wanted
  --token TOKEN     say HELLO with this token
  --timeout N       seconds for each call (default: 10)`;

async function main(words) {
  const { parseArgs } = require('node:util');
  const text = { type: 'string' }, flag = { type: 'boolean' };
  const options = { route: text, 'deadline-ms': text, correlate: flag, 'one-way': flag, token: text, timeout: text };
  const { values, positionals: [address, ...bodies] } = parseArgs({ args: words, options, allowPositionals: true });
  if (bodies.length === 0) throw new TypeError(`wanted: an address and at least one body\n${USAGE}`);
  const client = await Client.connect(address, { timeout: 1000 * (values.timeout ?? 10), token: values.token ?? '' });
  const route = Number(values.route ?? 1), correlate = values.correlate;
  const deadlineMs = values['deadline-ms'] === undefined ? undefined : Number(values['deadline-ms']);
  try {
    if (values['one-way']) bodies.forEach((body) => client.oneWay(route, body));
    else {
      const replies = await Promise.all(bodies.map((body) => client.request(route, body, { correlate, deadlineMs })));
      for (const reply of replies) process.stdout.write(Buffer.concat([reply, Buffer.from('\n')]));
    }
  } finally {
    await client.close();
  }
}

if (require.main === module) {
  main(process.argv.slice(2)).catch((error) => {
    console.error(`tidegate.js: ${error.message}`);
    process.exitCode = 1;
  });
}
