-- A Wireshark dissector for tidegate: frames on TCP port 7411, text lines on 7412. docs/PROTOCOL.md is what it reads.
--
-- Always holds: a byte is shown under what the server takes it for, and what the server would close for is an expert
-- error that says which close reason that is (the field tidegate.reason). Behind such a fault no frame is shown, since
-- there is no boundary that could be trusted. Never: guessing. Without one of its ports, or Decode As, it sees nothing.
--
-- Install: copy it to the folder of personal Lua plugins (Help > About Wireshark > Folders), or once by
--     tshark -X lua_script:tidegate.lua -r capture.pcap -Y tidegate

local frames = Proto("tidegate", "tidegate frames")
local lines = Proto("tidegate_lines", "tidegate lines")

local PREFIX, TRAILER = 6, 4           -- bytes of a frame around its payload
local BLOCK_MAX = 1020                 -- bytes of an extension block
local CONTROL_MAX = 4096               -- payload of a control frame before WELCOME
local CONTROL_EXTRA = 512              -- behind WELCOME: so much more than a body
local REPLY_EXTRA = 256 * 1024         -- a reply may be larger than the largest request by this
local PING_MAX, TOPIC_MAX, ID_MAX = 64, 200, 64
local EXT, CONTROL = 0x8000, 0x4000
local MIB = 1024 * 1024

frames.prefs.ports = Pref.range("TCP ports", "7411", "Where servers listen for frames.", 65535)
frames.prefs.max_payload = Pref.uint("Largest payload", MIB,
  "The listener's max_payload in bytes. A larger length is an error. WELCOME overrides it for its connection.")
frames.prefs.crc = Pref.bool("Verify checksums", true, "Compute each frame's CRC and compare.")
frames.prefs.bare = Pref.bool("Headers are all route", false,
  "For listeners with header_space = \"full\": no extension blocks, no control frames.")
lines.prefs.ports = Pref.range("TCP ports", "7412", "Where servers listen for lines.", 65535)
lines.prefs.max_payload = Pref.uint("Longest line", 64 * 1024, "The listener's max_payload in bytes.")

local STATUS = {
  [0] = "OK", "PROTOCOL", "UNAUTHENTICATED", "FORBIDDEN", "NO_ROUTE", "OVERLOADED", "UNAVAILABLE", "OUTCOME_UNKNOWN",
  "DEADLINE_EXCEEDED", "DRAINING", "INTERNAL", "SLOW_CONSUMER", "REPLACED", "IDLE", "TOO_LARGE", "UNSUPPORTED",
}

local CODE = {
  [0] = "PING", "PONG", "HELLO", "WELCOME", "ERROR", "GOAWAY", "SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH", "MESSAGE", "ACK",
  "MISSED", "NOTICE",
}

-- Who sends a control frame if not both, and whether it has an extension block.
local SENDER = {
  HELLO = "client", SUBSCRIBE = "client", UNSUBSCRIBE = "client", PUBLISH = "client", WELCOME = "server",
  ERROR = "server", GOAWAY = "server", MESSAGE = "server", ACK = "server", MISSED = "server", NOTICE = "server",
}
local BLOCK = { HELLO = "may", SUBSCRIBE = "may", UNSUBSCRIBE = "may", PUBLISH = "may", ACK = "must" }

local TAG = { [1] = "retry_after_ms", [2] = "load", [3] = "affinity" }
local TAG_BYTES = { [1] = 4, [2] = 2 }
local HELLO_TAG = { [1] = "max_receive" }
local HELLO_TAG_BYTES = { [1] = 4 }

local F = {
  header = ProtoField.uint16("tidegate.header", "Header", base.HEX),
  ext = ProtoField.bool("tidegate.ext", "Extension block", 16, nil, EXT),
  control = ProtoField.bool("tidegate.control", "Control frame", 16, nil, CONTROL),
  route = ProtoField.uint16("tidegate.route", "Route", base.DEC),
  code = ProtoField.uint16("tidegate.code", "Control code", base.DEC, CODE, 0x3fff),
  length = ProtoField.uint32("tidegate.length", "Length of the payload", base.DEC),
  payload = ProtoField.bytes("tidegate.payload", "Payload"),
  crc = ProtoField.uint32("tidegate.crc", "CRC", base.HEX),
  crc_computed = ProtoField.uint32("tidegate.crc.computed", "Computed CRC", base.HEX),
  crc_status = ProtoField.string("tidegate.crc.status", "CRC status"),
  reason = ProtoField.string("tidegate.reason", "Close reason"),
  behind = ProtoField.bytes("tidegate.behind", "Not looked at"),

  block = ProtoField.bytes("tidegate.block", "Extension block"),
  words = ProtoField.uint8("tidegate.block.words", "Words of 4 bytes", base.DEC),
  flags = ProtoField.uint8("tidegate.block.flags", "Flags", base.HEX),
  has_id = ProtoField.bool("tidegate.block.has_correlation", "Correlation", 8, nil, 0x01),
  has_deadline = ProtoField.bool("tidegate.block.has_deadline", "Deadline", 8, nil, 0x02),
  has_trace = ProtoField.bool("tidegate.block.has_trace", "Trace", 8, nil, 0x04),
  one_way = ProtoField.bool("tidegate.one_way", "One-way", 8, nil, 0x08),
  reserved = ProtoField.uint8("tidegate.block.reserved", "Reserved", base.HEX, nil, 0x70),
  has_tags = ProtoField.bool("tidegate.block.has_tags", "Tags", 8, nil, 0x80),
  status = ProtoField.uint16("tidegate.status", "Status", base.DEC, STATUS),
  correlation = ProtoField.uint64("tidegate.correlation", "Correlation", base.HEX),
  deadline = ProtoField.uint32("tidegate.deadline", "Deadline in ms", base.DEC),
  trace = ProtoField.bytes("tidegate.trace.id", "Trace id"),
  trace_parent = ProtoField.bytes("tidegate.trace.parent", "Trace parent"),
  trace_flags = ProtoField.uint8("tidegate.trace.flags", "Trace flags", base.HEX),
  tag = ProtoField.bytes("tidegate.tag", "Tag"),
  body = ProtoField.bytes("tidegate.body", "Body"),

  ping = ProtoField.bytes("tidegate.ping", "Bytes of the PING"),
  version = ProtoField.uint8("tidegate.version", "Version", base.DEC),
  control_flags = ProtoField.uint8("tidegate.flags", "Flags", base.HEX),
  client_id = ProtoField.string("tidegate.client_id", "Client id"),
  server_id = ProtoField.string("tidegate.server_id", "Server id"),
  token = ProtoField.bytes("tidegate.token", "Token"),
  max_payload = ProtoField.uint32("tidegate.max_payload", "Largest payload", base.DEC),
  heartbeat = ProtoField.uint32("tidegate.heartbeat", "Heartbeat in ms", base.DEC),
  reconnect = ProtoField.uint32("tidegate.reconnect_after", "Reconnect after ms", base.DEC),
  text = ProtoField.string("tidegate.text", "Text"),
  group = ProtoField.string("tidegate.group", "Queue group"),
  pattern = ProtoField.string("tidegate.pattern", "Pattern"),
  topic = ProtoField.string("tidegate.topic", "Topic"),
  count = ProtoField.uint64("tidegate.missed", "Messages missed", base.DEC),
  refused = ProtoField.uint16("tidegate.refused_header", "Header of what was refused", base.HEX),

  request_in = ProtoField.framenum("tidegate.request_in", "Reply to the request in", base.NONE, frametype.RESPONSE),
  reply_in = ProtoField.framenum("tidegate.reply_in", "Answered in", base.NONE, frametype.REQUEST),
  time = ProtoField.relative_time("tidegate.time", "Time since the request"),
}
local L = {
  payload = ProtoField.bytes("tidegate_lines.payload", "Line"),
  status = ProtoField.uint16("tidegate_lines.status", "Status", base.DEC, STATUS),
  text = ProtoField.string("tidegate_lines.text", "Text"),
  reason = ProtoField.string("tidegate_lines.reason", "Close reason"),
  behind = ProtoField.bytes("tidegate_lines.behind", "Not looked at"),
}


local function warning(name, text, group, severity)
  return ProtoExpert.new("tidegate.expert." .. name, text, group, severity)
end
local ERROR, WARN, NOTE = expert.severity.ERROR, expert.severity.WARN, expert.severity.NOTE
local E = {
  bad_crc = warning("bad_crc", "Wrong CRC: the server closes", expert.group.CHECKSUM, ERROR),
  too_large = warning("too_large", "Over the limit: the server closes", expert.group.MALFORMED, ERROR),
  malformed = warning("malformed", "It does not parse: the server closes", expert.group.MALFORMED, ERROR),
  not_allowed = warning("not_allowed", "It is not allowed here: the connection is closed", expert.group.PROTOCOL, ERROR),
  foreign = warning("foreign", "Another protocol's first bytes: the server closes", expert.group.PROTOCOL, ERROR),
  truncated = warning("truncated", "The stream ends within a frame", expert.group.PROTOCOL, ERROR),
  unsupported = warning("unsupported", "It asks for what version 1 does not know", expert.group.PROTOCOL, WARN),
  refused = warning("refused", "The server refused a request", expert.group.RESPONSE_CODE, NOTE),
  goaway = warning("goaway", "The server ends the connection", expert.group.SEQUENCE, NOTE),
}
frames.experts = { E.bad_crc, E.too_large, E.malformed, E.not_allowed, E.foreign, E.truncated, E.unsupported, E.refused, E.goaway }
local LE = ProtoExpert.new("tidegate_lines.expert.fault", "The server closes", expert.group.PROTOCOL, ERROR)
lines.experts = { LE }

local function values(named)
  local list = {}
  for _, field in pairs(named) do list[#list + 1] = field end
  return list
end
frames.fields = values(F)
lines.fields = values(L)

-- Which kind of fault a close reason is.
local FAULT = {
  bad_crc = E.bad_crc, too_large = E.too_large, bad_control = E.malformed, bad_extension = E.malformed,
  unknown_control = E.malformed, wrong_direction = E.not_allowed, late_hello = E.not_allowed, truncated = E.truncated,
  tls = E.foreign, http = E.foreign, resp = E.foreign, proxy = E.foreign,
}

-- CRC-32/ISO-HDLC, that of zlib. Lua has operators for bits from 5.3 on; Wireshark up to 4.2 brings 5.2.

local native = load("return function(a, b) return a ~ b end, function(a, n) return a >> n end, function(a, b) return a & b end")
local xor, shift, mask
if native then
  xor, shift, mask = native()
else
  xor, shift, mask = bit32.bxor, bit32.rshift, bit32.band
end

local CRC = {}
for byte = 0, 255 do
  local sum = byte
  for _ = 1, 8 do
    if mask(sum, 1) == 1 then sum = xor(shift(sum, 1), 0xedb88320) else sum = shift(sum, 1) end
  end
  CRC[byte] = sum
end

local function crc_of(bytes)
  local sum = 0xffffffff
  for at = 1, #bytes do
    sum = xor(shift(sum, 8), CRC[mask(xor(sum, bytes:byte(at)), 0xff)])
  end
  return xor(sum, 0xffffffff)
end

-- First bytes of other protocols, as src/wire/foreign.rs knows them.

local METHODS = { "GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI " }
local PROXY = { "PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN ", "PROXY UNKNOWN\r", "\r\n\r\n\0\r\nQUIT\n" }

-- Whether bytes start like one of these, or, where that is enough, are the beginning of it.
local function starts(bytes, list, beginning)
  for _, start in ipairs(list) do
    if bytes:sub(1, #start) == start then return true end
    if beginning and #bytes >= PREFIX and start:sub(1, #bytes) == bytes then return true end
  end
  return false
end

local function is_tls(bytes)
  local hello = bytes:match("^\x16\x03[\0-\4]..\1(.*)$")
  if not hello then return false end
  local length_fits = hello == "" or hello:byte(1) == 0
  local version_fits = #hello < 4 or hello:byte(4) == 3
  return length_fits and version_fits and (bytes:byte(3) > 0 or #hello >= 4)
end

-- What is sent to a TLS client where there is no TLS.
local TLS_ALERT = "\x15\x03\x01\0\2\2\x46"

local function foreign_on_frames(bytes)
  if is_tls(bytes) then return "tls" end
  if starts(bytes, METHODS, true) then return "http" end
  local digits, behind = bytes:match("^%*(%d+)\r\n(.?)")
  if digits and #digits <= 10 and (behind == "" or behind == "$") then return "resp" end
  if starts(bytes, PROXY, true) then return "proxy" end
end

local function foreign_on_lines(bytes)
  if is_tls(bytes) then return "tls" end
  local line = (bytes:match("^([^\n]*)\n") or ""):gsub("\r$", "")
  if starts(line, METHODS) and (line:match(" HTTP/1%.[01]$") or line:match(" HTTP/2%.0$")) then return "http" end
  if starts(bytes, PROXY) then return "proxy" end
end

-- What is remembered of a connection, written in the first pass alone: packets are shown again in any order.
--
-- A connection is its addresses and ports: no field of TCP can be asked for in a first pass, where there is no tree.
-- `first` and `fault` of a side are places: a packet's number, and the how manieth frame of it.

local tcp_fin = Field.new("tcp.flags.fin")
local connections = {}

local function is_from_client(pinfo)
  if pinfo.match_uint == pinfo.dst_port then return true end
  if pinfo.match_uint == pinfo.src_port then return false end
  return pinfo.dst_port < pinfo.src_port
end

local function connection_of(pinfo, sender)
  local ends = { tostring(pinfo.src) .. " " .. pinfo.src_port, tostring(pinfo.dst) .. " " .. pinfo.dst_port }
  local name = sender == "client" and ends[1] .. " " .. ends[2] or ends[2] .. " " .. ends[1]
  local known = connections[name]
  if not known then
    known = { client = {}, server = {}, waiting = {}, asked = {}, answered = {} }
    connections[name] = known
  end
  return known
end

-- Known only where there is a tree.
local function is_last_segment()
  local fin = tcp_fin()
  return fin ~= nil and fin.value
end

function frames.init()
  connections = {}
end

-- The place of the frame that is looked at. The counter lives as long as this look at this packet.
local function place_of(pinfo)
  return { packet = pinfo.number, index = tonumber(pinfo.private["tidegate.index"] or "0") }
end

local function count_on(pinfo)
  pinfo.private["tidegate.index"] = tostring(place_of(pinfo).index + 1)
end

local function is_behind(place, other)
  return other and (place.packet > other.packet or place.packet == other.packet and place.index > other.index)
end

local function is_first(side, place)
  return not side.first or side.first.packet == place.packet and side.first.index == place.index
end

-- Fields one behind the other, each shown as it is read. What does not parse ends the frame with a close reason.

local function fail(reason, text)
  error({ reason = reason, text = text }, 0)
end

local Cursor = {}
Cursor.__index = Cursor

function Cursor.new(tvb, at, stop, tree, reason)
  return setmetatable({ tvb = tvb, at = at, stop = stop, tree = tree, reason = reason }, Cursor)
end

function Cursor:left()
  return self.stop - self.at
end

function Cursor:range(bytes, what)
  if bytes > self:left() then
    fail(self.reason, string.format("%s needs %d bytes, and %d are left", what, bytes, self:left()))
  end
  local range = self.tvb(self.at, bytes)
  self.at = self.at + bytes
  return range
end

function Cursor:number(field, bytes, what)
  local range = self:range(bytes, what)
  self.tree:add(field, range)
  return range:uint()
end

-- Bytes whose number stands in front of them, or all that is left.
function Cursor:bytes(field, count_bytes, what)
  local count = count_bytes and self:range(count_bytes, what):uint() or self:left()
  local range = self:range(count, what)
  self.tree:add(field, range)
  return range
end

local UTF8 = {
  "^[\0-\x7f]+", "^[\xc2-\xdf][\x80-\xbf]", "^\xe0[\xa0-\xbf][\x80-\xbf]", "^[\xe1-\xec\xee\xef][\x80-\xbf][\x80-\xbf]",
  "^\xed[\x80-\x9f][\x80-\xbf]", "^\xf0[\x90-\xbf][\x80-\xbf][\x80-\xbf]", "^[\xf1-\xf3][\x80-\xbf][\x80-\xbf][\x80-\xbf]",
  "^\xf4[\x80-\x8f][\x80-\xbf][\x80-\xbf]",
}

local function is_utf8(bytes)
  local at = 1
  while at <= #bytes do
    local stop
    for _, pattern in ipairs(UTF8) do
      _, stop = bytes:find(pattern, at)
      if stop then break end
    end
    if not stop then return false end
    at = stop + 1
  end
  return true
end

function Cursor:text(field, count_bytes, what)
  local count = count_bytes and self:range(count_bytes, what):uint() or self:left()
  local at, range = self.at, self:range(count, what)
  local bytes = self.tvb:raw(at, count)
  self.tree:add_packet_field(field, range, ENC_UTF_8 + ENC_NA)
  if not is_utf8(bytes) then fail(self.reason, what .. " is not UTF-8") end
  return bytes
end

function Cursor:topic(field, what)
  local topic = self:text(field, 1, what)
  if #topic > TOPIC_MAX then fail(self.reason, string.format("%s of %d bytes; %d are the most", what, #topic, TOPIC_MAX)) end
  return topic
end

function Cursor:id(field, what, may_be_empty)
  local id = self:text(field, 1, what)
  local is_one = #id <= ID_MAX and id:match("^[%w_-]+$")
  if not is_one and not (may_be_empty and id == "") then
    fail(self.reason, what .. " is not 1 to 64 of A-Z a-z 0-9 _ -")
  end
  return id
end

-- `tag u8, len u8, value` up to the end; tag 0 is one byte of padding. The first critical one, and how many there are.
function Cursor:tags(names, sizes)
  local critical, count = nil, 0
  while self:left() > 0 do
    local at = self.at
    local tag = self:range(1, "a tag"):uint()
    if tag ~= 0 then
      local length = self:range(1, "the length of tag " .. tag):uint()
      local value = self:range(length, "tag " .. tag)
      local item = self.tree:add(F.tag, self.tvb(at, 2 + length))
      local shown = sizes[tag] == length and tostring(value:uint()) or length .. " bytes"
      item:set_text(string.format("Tag %d (%s): %s", tag, names[tag] or "unknown", shown))
      if sizes[tag] and sizes[tag] ~= length then
        fail(self.reason, string.format("tag %d of %d bytes where it has %d", tag, length, sizes[tag]))
      end
      if tag >= 128 and not critical then critical = tag end
      count = count + 1
    end
  end
  return critical, count
end

-- The extension block at the front of a payload: what it says, and where the body begins.

local function read_flags(tree, range)
  local item = tree:add(F.flags, range)
  for _, field in ipairs({ F.has_id, F.has_deadline, F.has_trace, F.one_way, F.reserved, F.has_tags }) do
    item:add(field, range)
  end
  return range:uint()
end

local function read_fields(cursor, flags, said)
  if mask(flags, 0x01) ~= 0 then
    local range = cursor:range(8, "the correlation")
    cursor.tree:add(F.correlation, range)
    said.id = range:bytes():tohex()
  end
  if mask(flags, 0x02) ~= 0 then said.deadline = cursor:number(F.deadline, 4, "the deadline") end
  if mask(flags, 0x04) ~= 0 then
    cursor.tree:add(F.trace, cursor:range(16, "the trace's id"))
    cursor.tree:add(F.trace_parent, cursor:range(8, "the trace's parent"))
    cursor:number(F.trace_flags, 1, "the trace's flags")
    if cursor:range(3, "the trace's end"):uint() ~= 0 then fail("bad_extension", "the last 3 bytes of the trace are not zero") end
    said.trace = true
  end
end

local function read_block(tvb, at, stop, tree)
  local whole = Cursor.new(tvb, at, stop, tree, "bad_extension")
  local words = whole:range(1, "an extension block"):uint()
  if words == 0 then fail("bad_extension", "an extension block of 0 words") end
  whole.at = at
  local item = tree:add(F.block, whole:range(4 * words, "an extension block of " .. words .. " words"))
  local cursor = Cursor.new(tvb, at, whole.at, item, "bad_extension")
  cursor:number(F.words, 1, "the block's length")
  local flags = read_flags(item, cursor:range(1, "the block's flags"))
  local said = { stop = whole.at, status = cursor:number(F.status, 2, "the status"), one_way = mask(flags, 0x08) ~= 0 }
  read_fields(cursor, flags, said)
  if mask(flags, 0x70) ~= 0 then
    said.unsupported = string.format("reserved flags 0x%02x", mask(flags, 0x70))
  elseif mask(flags, 0x80) ~= 0 then
    local critical, count = cursor:tags(TAG, TAG_BYTES)
    said.has_tags = count > 0
    said.unsupported = critical and "critical tag " .. critical
  elseif cursor:left() > 0 then
    fail("bad_extension", cursor:left() .. " bytes behind the last field")
  end
  return said
end

-- Control frames: each reads what stands behind its block, and gives what the list of packets shows of it.

local function status_name(status)
  return STATUS[status] or (status >= 256 and "APPLICATION " .. status or "INTERNAL (" .. status .. ")")
end

local function quoted(text)
  return text == "" and "" or ' "' .. text .. '"'
end

local function read_subscription(cursor)
  cursor:number(F.control_flags, 1, "the flags")
  cursor:text(F.group, 1, "the queue group")
  local pattern = cursor:topic(F.pattern, "the pattern")
  cursor:tags({}, {})
  return quoted(pattern)
end

local function read_message(cursor)
  local topic = cursor:topic(F.topic, "the topic")
  local body = cursor:bytes(F.body, nil, "the body")
  return string.format("%s, %d B", quoted(topic), body:len())
end

local function read_ping(cursor)
  if cursor:left() > PING_MAX then fail("bad_control", cursor:left() .. " bytes; " .. PING_MAX .. " are the most") end
  cursor:bytes(F.ping, nil, "its bytes")
  return ""
end

local READ = {
  PING = read_ping,
  PONG = read_ping,
  SUBSCRIBE = read_subscription,
  UNSUBSCRIBE = read_subscription,
  PUBLISH = read_message,
  MESSAGE = read_message,
}

function READ.HELLO(cursor, said)
  local version = cursor:number(F.version, 1, "the version")
  cursor:number(F.control_flags, 1, "the flags")
  local id = cursor:id(F.client_id, "the client id", true)
  local token = cursor:bytes(F.token, 2, "the token")
  local critical = cursor:tags(HELLO_TAG, HELLO_TAG_BYTES)
  said.unsupported = said.unsupported or critical and "critical tag " .. critical
  return string.format(" version %d%s%s", version, quoted(id), token:len() > 0 and ", with a token" or "")
end

function READ.WELCOME(cursor, said)
  local version = cursor:number(F.version, 1, "the version")
  cursor:number(F.control_flags, 1, "the flags")
  said.max_payload = cursor:number(F.max_payload, 4, "the largest payload")
  local heartbeat = cursor:number(F.heartbeat, 4, "the heartbeat")
  local server, client = cursor:id(F.server_id, "the server id"), cursor:id(F.client_id, "the client id")
  cursor:tags({}, {})
  return string.format(' version %d, up to %d B, heartbeat %d ms, "%s" to "%s"', version, said.max_payload, heartbeat, server, client)
end

function READ.ERROR(cursor, said)
  said.refused = cursor:number(F.status, 2, "the status")
  local text = cursor:text(F.text, nil, "the text")
  return " " .. status_name(said.refused) .. quoted(text)
end

function READ.GOAWAY(cursor, said)
  said.goaway = cursor:number(F.status, 2, "the status")
  local wait = cursor:number(F.reconnect, 4, "the time to reconnect")
  local text = cursor:text(F.text, nil, "the text")
  return string.format(" %s%s, reconnect after %d ms", status_name(said.goaway), quoted(text), wait)
end

function READ.ACK(cursor, said)
  cursor:bytes(F.body, nil, "its payload")
  said.refused = said.status ~= 0 and said.status or nil
  return " " .. status_name(said.status)
end

function READ.MISSED(cursor)
  cursor.tree:add(F.count, cursor:range(8, "the count"))
  local pattern = cursor:topic(F.pattern, "the pattern")
  if cursor:left() > 0 then fail("bad_control", cursor:left() .. " bytes behind the pattern") end
  return quoted(pattern)
end

function READ.NOTICE(cursor, said)
  said.refused = cursor:number(F.status, 2, "the status")
  cursor:number(F.refused, 2, "the header of what was refused")
  local text = cursor:text(F.text, nil, "the text")
  return " " .. status_name(said.refused) .. quoted(text)
end

local function check_control_block(name, has_block, said)
  if not has_block then
    if BLOCK[name] == "must" then fail("bad_control", "it needs an extension block") end
    return
  end
  local is_ack = BLOCK[name] == "must"
  if is_ack and not said.id then fail("bad_control", "its block needs a correlation") end
  if said.deadline or said.one_way or said.has_tags or is_ack and said.trace then
    fail("bad_control", "its block has fields that it may not have")
  end
end

local function read_control(look, header)
  local code = mask(header, 0x3fff)
  local name = CODE[code]
  if not name then fail("unknown_control", "code " .. code) end
  local has_block = mask(header, EXT) ~= 0
  if has_block and not BLOCK[name] then fail("bad_control", "it may not have an extension block") end
  local at, stop = PREFIX, look.stop
  local said = { status = 0 }
  if has_block then
    said = read_block(look.tvb, at, stop, look.tree)
    at = said.stop
  end
  check_control_block(name, has_block, said)
  local shown = READ[name](Cursor.new(look.tvb, at, stop, look.tree, "bad_control"), said)
  if SENDER[name] and SENDER[name] ~= look.sender then
    fail("wrong_direction", "only a " .. SENDER[name] .. " sends " .. name)
  end
  if name == "HELLO" and not is_first(look.side, look.place) then fail("late_hello", "HELLO is the first frame or none") end
  return name .. shown, said
end

-- Requests and replies.

local function read_message_of_route(look, header)
  local route = mask(header, 0x3fff)
  local kind = look.sender == "client" and "Request" or "Reply"
  local at, said = PREFIX, { status = 0 }
  if mask(header, EXT) ~= 0 then
    said = read_block(look.tvb, PREFIX, look.stop, look.tree)
    at = said.stop
    look.tree:add(F.body, look.tvb(at, look.stop - at))
  else
    look.tree:add(F.payload, look.tvb(at, look.stop - at))
  end
  local shown = string.format("%s, route %d, %d B", kind, route, look.stop - at)
  if said.id then shown = shown .. ", correlation 0x" .. said.id:gsub("^0+(.)", "%1") end
  if said.deadline then shown = shown .. ", " .. said.deadline .. " ms" end
  if said.one_way then shown = shown .. ", one-way" end
  if look.sender == "server" then
    said.unsupported = nil -- in a reply nothing is critical
    if said.status ~= 0 then shown, said.refused = shown .. ", " .. status_name(said.status), said.status end
  end
  return shown, said
end

-- The reply to a request with the same correlation: the oldest that waits, since ids need not be unique.
local function match_reply(look, pinfo, said)
  if not said.id or said.one_way and look.sender == "client" then return end
  local connection, key = look.connection, look.place.packet .. "." .. look.place.index
  if not pinfo.visited then
    local waiting = connection.waiting[said.id] or {}
    connection.waiting[said.id] = waiting
    if look.sender == "client" then
      waiting[#waiting + 1] = { key = key, packet = pinfo.number, at = pinfo.abs_ts }
    elseif waiting[1] then
      local asked = table.remove(waiting, 1)
      connection.asked[key] = { packet = asked.packet, seconds = pinfo.abs_ts - asked.at }
      connection.answered[asked.key] = pinfo.number
    end
  end
  local asked, answered = connection.asked[key], connection.answered[key]
  if asked then
    look.tree:add(F.request_in, asked.packet):set_generated()
    local whole = math.floor(asked.seconds)
    look.tree:add(F.time, NSTime.new(whole, math.floor((asked.seconds - whole) * 1e9 + 0.5))):set_generated()
  end
  if answered then look.tree:add(F.reply_in, answered):set_generated() end
end

-- One frame: its limit first, then its CRC, then what it says.

local function limit_of(look, header)
  local connection = look.connection
  local welcomed = connection.welcome and look.place.packet >= connection.welcome.packet
  local most = welcomed and connection.welcome.max_payload or frames.prefs.max_payload
  if look.sender == "server" then most = most + REPLY_EXTRA end
  if frames.prefs.bare then return most end
  if mask(header, CONTROL) ~= 0 then return welcomed and most + CONTROL_EXTRA or CONTROL_MAX end
  if mask(header, EXT) ~= 0 then return most + BLOCK_MAX end
  return most
end

-- What is wrong with the frame at `offset` before it is whole: a close reason and a text, or nothing.
local function judge_prefix(look, tvb, offset)
  local rest = tvb:len() - offset
  local header, length = tvb(offset, 2):uint(), tvb(offset + 2, 4):uint()
  local frame_bytes = PREFIX + length + TRAILER
  if is_first(look.side, look.place) and look.sender == "client" and not frames.prefs.bare then
    local name = foreign_on_frames(tvb:raw(offset, math.min(rest, 64)))
    local is_ours = name and rest >= frame_bytes and length <= limit_of(look, header)
      and crc_of(tvb:raw(offset, frame_bytes - TRAILER)) == tvb(offset + frame_bytes - TRAILER, TRAILER):uint()
    if name and not is_ours then return name, "the first bytes are " .. name:upper() end
  elseif is_first(look.side, look.place) and tvb:raw(offset, math.min(rest, #TLS_ALERT)) == TLS_ALERT then
    return "tls", "the alert that tells a client that no TLS is spoken here"
  end
  local most = limit_of(look, header)
  if length > most then return "too_large", string.format("%d bytes, and the limit is %d", length, most) end
end

local function look_at(pinfo)
  local sender = is_from_client(pinfo) and "client" or "server"
  local connection = connection_of(pinfo, sender)
  return { connection = connection, side = connection[sender], sender = sender, place = place_of(pinfo) }
end

local function frame_bytes_at(tvb, pinfo, offset)
  local look = look_at(pinfo)
  if is_behind(look.place, look.side.fault) or judge_prefix(look, tvb, offset) then
    return tvb:len() - offset -- no frame begins behind it
  end
  return PREFIX + tvb(offset + 2, 4):uint() + TRAILER
end

local function show_fault(look, pinfo, reason, text)
  look.tree:add(F.reason, reason):set_generated()
  look.tree:add_proto_expert_info(FAULT[reason], reason .. ": " .. text)
  if not pinfo.visited and not look.side.fault then look.side.fault = look.place end
  return "[" .. reason .. ": " .. text .. "]"
end

local function show_header(look, header)
  local item = look.tree:add(F.header, look.tvb(0, 2))
  if frames.prefs.bare then
    item:add(F.route, look.tvb(0, 2), header)
    return
  end
  item:add(F.ext, look.tvb(0, 2))
  item:add(F.control, look.tvb(0, 2))
  if mask(header, CONTROL) ~= 0 then
    item:add(F.code, look.tvb(0, 2))
  else
    item:add(F.route, look.tvb(0, 2), mask(header, 0x3fff))
  end
end

-- Whether the CRC is right; nothing of a frame is believed before.
local function check_crc(look)
  local range = look.tvb(look.stop, TRAILER)
  local item = look.tree:add(F.crc, range)
  if not frames.prefs.crc then
    look.tree:add(F.crc_status, "not verified"):set_generated()
    return true
  end
  local computed = crc_of(look.tvb:raw(0, look.stop))
  look.tree:add(F.crc_computed, computed):set_generated()
  local is_good = computed == range:uint()
  look.tree:add(F.crc_status, is_good and "good" or "bad"):set_generated()
  item:append_text(is_good and " [correct]" or string.format(" [wrong, should be 0x%08x]", computed))
  return is_good
end

-- What a whole frame with a good prefix says: shown, and in a line.
local function read_frame(look, pinfo, header)
  if not check_crc(look) then return show_fault(look, pinfo, "bad_crc", "nothing of the frame is taken") end
  if frames.prefs.bare then
    look.tree:add(F.payload, look.tvb(PREFIX, look.stop - PREFIX))
    return string.format("Route %d, %d B", header, look.stop - PREFIX)
  end
  local read = mask(header, CONTROL) ~= 0 and read_control or read_message_of_route
  local is_read, shown, said = pcall(read, look, header)
  if not is_read then
    local fault = shown
    if type(fault) ~= "table" then error(fault, 0) end -- a mistake of this script
    return show_fault(look, pinfo, fault.reason, fault.text)
  end
  if said.unsupported then look.tree:add_proto_expert_info(E.unsupported, "UNSUPPORTED: " .. said.unsupported) end
  if said.refused then look.tree:add_proto_expert_info(E.refused, shown) end
  if said.goaway then look.tree:add_proto_expert_info(E.goaway, shown) end
  if said.max_payload and not pinfo.visited then
    look.connection.welcome = { packet = pinfo.number, max_payload = said.max_payload }
  end
  match_reply(look, pinfo, said)
  return shown
end

local function dissect_frame(tvb, pinfo, tree)
  local look = look_at(pinfo)
  look.tvb, look.stop = tvb, tvb:len() - TRAILER
  look.tree = tree:add(frames, tvb())
  pinfo.cols.protocol = "tidegate"
  local shown
  local reason, text = judge_prefix(look, tvb, 0)
  if is_behind(look.place, look.side.fault) then
    look.tree:add(F.behind, tvb())
    shown = string.format("[%d B behind a fault]", tvb:len())
  elseif reason then
    show_header(look, tvb(0, 2):uint())
    look.tree:add(F.length, tvb(2, 4))
    shown = show_fault(look, pinfo, reason, text)
  else
    show_header(look, tvb(0, 2):uint())
    look.tree:add(F.length, tvb(2, 4))
    shown = read_frame(look, pinfo, tvb(0, 2):uint())
  end
  if not pinfo.visited and not look.side.first then look.side.first = look.place end
  look.tree:append_text(", " .. shown)
  pinfo.cols.info:append(look.place.index > 0 and " | " .. shown or shown)
  count_on(pinfo)
  return tvb:len()
end

function frames.dissector(tvb, pinfo, tree)
  if place_of(pinfo).index == 0 then pinfo.cols.info = "" end
  dissect_tcp_pdus(tvb, tree, PREFIX, frame_bytes_at, dissect_frame)
  if is_last_segment() and pinfo.desegment_len > 0 then -- more is wanted, and nothing more comes
    local look, rest = look_at(pinfo), tvb(pinfo.desegment_offset)
    look.tree = tree:add(frames, rest)
    look.tree:add(F.behind, rest)
    pinfo.cols.info:append(show_fault(look, pinfo, "truncated", rest:len() .. " bytes of a frame, and the end"))
  end
  return tvb:len()
end

-- Lines.

-- `ERR <code> <NAME> <text>` of a server.
local function show_line(item, payload, range, sender)
  item:add(L.payload, range)
  local code, text = payload:match("^ERR (%d+) %u+ ?(.*)$")
  if sender ~= "server" or not code or tonumber(code) > 0xffff then return string.format("Line, %d B", #payload) end
  item:add(L.status, range, tonumber(code))
  item:add(L.text, range, text)
  return "ERR " .. status_name(tonumber(code)) .. quoted(text)
end

-- The line that begins at `at`: its bytes without and with its end; or a close reason; or nothing, if it is not whole.
local function line_at(bytes, at, look, is_end)
  local most = lines.prefs.max_payload
  if look.sender == "client" and is_first(look.side, look.place) then
    local name = foreign_on_lines(bytes:sub(at))
    if name then return nil, nil, name end
  elseif bytes == TLS_ALERT then
    return nil, nil, "tls"
  end
  local stop = bytes:find("\n", at, true)
  local payload = bytes:sub(at, stop and stop - 1 or -1)
  local used = #payload + (stop and 1 or 0)
  payload = payload:gsub("\r$", "")
  if look.sender == "client" and #payload > most then return nil, nil, "line_too_long" end
  if stop or is_end then return payload, used end
end

local function show_lines_fault(look, pinfo, reason, item, range)
  item:add(L.reason, reason):set_generated()
  item:add(L.behind, range)
  item:add_proto_expert_info(LE, "The server closes: " .. reason)
  if not pinfo.visited and not look.side.fault then look.side.fault = look.place end
  return "[" .. reason .. "]"
end

function lines.dissector(tvb, pinfo, tree)
  local bytes, at, shown = tvb:raw(), 1, {}
  local is_end = is_last_segment()
  pinfo.cols.protocol = "tidegate lines"
  while at <= #bytes do
    local look = look_at(pinfo)
    local rest = tvb(at - 1)
    if is_behind(look.place, look.side.fault) then
      tree:add(lines, rest):add(L.behind, rest)
      break
    end
    local payload, used, reason = line_at(bytes, at, look, is_end)
    if reason then
      shown[#shown + 1] = show_lines_fault(look, pinfo, reason, tree:add(lines, rest), rest)
      count_on(pinfo)
      break
    end
    if not payload then
      pinfo.desegment_offset, pinfo.desegment_len = at - 1, DESEGMENT_ONE_MORE_SEGMENT
      break
    end
    local item = tree:add(lines, tvb(at - 1, used))
    shown[#shown + 1] = show_line(item, payload, tvb(at - 1, #payload), look.sender)
    if not pinfo.visited and not look.side.first then look.side.first = look.place end
    count_on(pinfo)
    at = at + used
  end
  pinfo.cols.info = table.concat(shown, " | ")
  return tvb:len()
end

-- Ports, as the preferences have them.

local tcp_port = DissectorTable.get("tcp.port")

local function listen_where_told(proto)
  local told = ""
  local function move()
    if told ~= "" then tcp_port:remove(told, proto) end
    told = proto.prefs.ports
    if told ~= "" then tcp_port:add(told, proto) end
  end
  proto.prefs_changed = move
  move()
  tcp_port:add_for_decode_as(proto)
  DissectorTable.get("tls.port"):add_for_decode_as(proto)
end

listen_where_told(frames)
listen_where_told(lines)
