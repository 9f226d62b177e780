// Drives docs/clients/tidegate.js for tests/clients.rs; commands, options and outcomes as in driver.py.
'use strict';

const path = require('node:path');
const readline = require('node:readline');
const tg = require(path.join(__dirname, '../../docs/clients/tidegate.js'));

const hexed = (data) => Buffer.from(data).toString('hex') || '-';
const headerHex = (header) => header.toString(16).padStart(4, '0');

/** A frame in the words of vectors.txt; `other` for what this client skips. */
function meaning(header, payload) {
  const code = headerHex(header);
  if (!(header & 0x4000)) {
    if (!(header & 0x8000)) return `frame ${code} ${hexed(payload)}`;
    const block = tg.parseBlock(payload);
    const words = [`ext ${code}`];
    if (block.status) words.push(`status ${block.status}`);
    if (block.correlation !== null) words.push(`id ${block.correlation.toString(16).padStart(16, '0')}`);
    for (const { tag, value } of block.tags) words.push(`tag ${tag} ${hexed(value)}`);
    return [...words, 'body', hexed(payload.subarray(block.size))].join(' ');
  }
  const text = (numbers) => hexed(tg.parseText(payload, numbers));
  switch (header) {
    case 0x4000: return `ping ${hexed(payload)}`;
    case 0x4001: return `pong ${hexed(payload)}`;
    case 0x4004: { const said = text(2); return `error ${payload.readUInt16BE(0)} ${said}`; }
    case 0x4005: { const said = text(6); return `goaway ${payload.readUInt16BE(0)} ${payload.readUInt32BE(2)} ${said}`; }
    case 0x400c: { const said = text(4); return `notice ${payload.readUInt16BE(0)} ${headerHex(payload.readUInt16BE(2))} ${said}`; }
    case 0x4003: {
      const said = tg.parseWelcome(payload);
      return `welcome ${said.version} ${said.maxPayload} ${said.heartbeatMs} ${hexed(said.serverId)} ${hexed(said.clientId)}`;
    }
    default: return `other ${code} ${hexed(payload)}`;
  }
}

async function vectors() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [mode, limit, chunk, hex] = line.split(' ');
    const stream = Buffer.from(hex === '-' ? '' : hex, 'hex');
    if (mode === 'crc') {
      console.log(tg.crc32(stream).toString(16).padStart(8, '0'));
      continue;
    }
    const decoder = new tg.Decoder(Number(limit)), found = [];
    try {
      for (let at = 0; at < stream.length; at += Number(chunk)) {
        decoder.feed(stream.subarray(at, at + Number(chunk)));
        for (let frame = decoder.next(); frame; frame = decoder.next()) {
          const { header, payload } = frame;
          found.push(mode === 'meant' ? meaning(header, payload) : `${headerHex(header)} ${hexed(payload)}`);
        }
      }
      if (decoder.needs()) found.push(`need_more ${decoder.needs()}`);
    } catch (error) {
      if (!(error instanceof tg.ProtocolError)) throw error;
      found.push(`close ${error.reason}`);
    }
    console.log(found.join(' | '));
  }
}

async function outcome(promise, say = (body) => `ok ${body}`) {
  try {
    return say(await promise);
  } catch (error) {
    const undone = error.notProcessed ? 'undone' : 'unsure';
    if (error instanceof tg.StatusError) return `status ${error.status} ${undone} ${error.message.split(': ')[1]}`;
    if (error instanceof tg.EndedError) return `ended ${error.goaway ? `goaway ${error.goaway.status}` : 'eof'} ${undone}`;
    if (error instanceof tg.TimeoutError) return 'timeout';
    if (error instanceof tg.ProtocolError) return `fault ${error.reason}`;
    if (error instanceof RangeError) return 'refused';
    throw error;
  }
}

async function session(address, words) {
  const given = Object.fromEntries(words.filter((word) => word.includes('=')).map((word) => word.split('=')));
  const number = (name) => (name in given ? Number(given[name]) : undefined);
  const options = { timeout: number('timeout') ?? 20_000, hello: 'hello' in given, token: given.token ?? '', pingAfter: number('ping') };
  if ('limit' in given) options.maxPayload = number('limit');
  let client;
  const refused = await outcome(tg.Client.connect(address, options).then((connected) => { client = connected; }));
  if (!client) return console.log(refused);
  if (client.welcome) console.log(`welcome ${client.welcome.version} ${client.welcome.maxPayload} ${client.welcome.heartbeatMs}`);
  const stdin = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  let sent = [];
  for (const word of words.filter((word) => !word.includes('='))) {
    const [what, first = '0', ...rest] = word.split(':');
    const route = Number(first), text = what === 'fill' ? '.'.repeat(Number(rest[0])) : rest.join(':');
    const more = { csend: { correlate: true }, dsend: { deadlineMs: 0 } }[what];
    if (what === 'ask') console.log(await outcome(client.request(route, text)));
    else if (['send', 'csend', 'dsend', 'fill'].includes(what)) sent.push(outcome(client.request(route, text, more)));
    else if (what === 'oneway') client.oneWay(route, text);
    else if (what === 'wait') {
      for (const each of sent) console.log(await each);
      sent = [];
    } else if (what === 'pipe') {
      const [count, size] = rest.map(Number);
      const bodies = Array.from({ length: count }, (_, at) => `${at} `.padEnd(size, '.'));
      const replies = [];
      for (const body of bodies) {
        replies.push(client.request(route, body));
        await client.room();
      }
      const found = await Promise.all(replies);
      console.log(`${found.filter((reply, at) => String(reply) === bodies[at]).length} in order`);
    } else if (what === 'big') {
      console.log(await outcome(client.request(route, '.'.repeat(Number(text))), (body) => `ok ${body.length}`));
    } else if (what === 'ping') console.log(await outcome(client.ping(), () => 'pong'));
    else if (what === 'poll') {
      for (const until = Date.now() + route; !client.goaway && Date.now() < until;) {
        await new Promise((resolve) => { setTimeout(resolve, 10); });
      }
    } else if (what === 'told') console.log(client.goaway ? `goaway ${client.goaway.status}` : 'nothing');
    else if (what === 'stdin') {
      console.log('ready');
      await stdin.next();
    } else if (what === 'close') {
      await client.close();
      console.log('closed');
    }
  }
  process.exit(0);
}

if (process.argv[2] === 'vectors') vectors();
else session(process.argv[2], process.argv.slice(3));
