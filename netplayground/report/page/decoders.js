// Bytes of a conversation to requests and answers: HTTP/1, Redis (RESP 2 and 3), PostgreSQL (protocol 3), DNS.
//
// Each parser takes the bytes of one direction and gives messages { side, at, end, title, lines }; it never reads
// beyond them, believes no length, and where they make no sense gives what is left as one message "not …".

const MOST_LINES = 400;
const MOST_WIDTH = 4000;
const MOST_MESSAGES = 50_000;
const TOO_MANY = `after the first ${MOST_MESSAGES.toLocaleString("en")} messages, not decoded`;

function message(side, at, end, title, lines = []) {
  return { side, at, end, title: shortened(title, MOST_WIDTH), lines };
}

function rest(side, bytes, at, what) {
  if (at >= bytes.length) return [];
  return [message(side, at, bytes.length, `${counted(bytes.length - at, "byte")}, ${what}`, [asciiOf(bytes.subarray(at, at + 200))])];
}

function textLines(text) {
  const lines = text.split(/\r?\n/);
  if (lines.length > 1 && lines[lines.length - 1] === "") lines.pop();
  const shown = lines.slice(0, MOST_LINES).map((line) => shortened(line, MOST_WIDTH));
  if (lines.length > MOST_LINES) shown.push(`… ${counted(lines.length - MOST_LINES, "more line")}`);
  return shown;
}

function indexOfBytes(bytes, wanted, from, to = bytes.length) {
  outer: for (let at = bytes.indexOf(wanted[0], from); at >= 0 && at + wanted.length <= to; at = bytes.indexOf(wanted[0], at + 1)) {
    for (let k = 1; k < wanted.length; k += 1) if (bytes[at + k] !== wanted[k]) continue outer;
    return at;
  }
  return -1;
}

const CRLF = [13, 10];
const BLANK_LINE = [13, 10, 13, 10];

// HTTP/1 (RFC 9112)

const REQUEST_LINE = /^[A-Z]{1,20} \S+ HTTP\/1\.[01]$/;
const STATUS_LINE = /^HTTP\/1\.[01] [1-9]\d\d(?: .*)?$/;
const HEAD_MOST = 256 * 1024;

function parseHttp(bytes, side, methods) {
  const found = [];
  let at = 0;
  let answered = 0;
  while (at < bytes.length) {
    if (found.length >= MOST_MESSAGES) return [...found, ...rest(side, bytes, at, TOO_MANY)];
    const stop = indexOfBytes(bytes, BLANK_LINE, at, Math.min(bytes.length, at + HEAD_MOST));
    const head = latin(bytes.subarray(at, stop < 0 ? Math.min(bytes.length, at + HEAD_MOST) : stop)).split("\r\n");
    if (!(side ? STATUS_LINE : REQUEST_LINE).test(head[0])) return [...found, ...rest(side, bytes, at, "not HTTP")];
    if (stop < 0) {
      found.push(message(side, at, bytes.length, head[0], [...head.slice(1), "… its head does not end here"]));
      break;
    }
    const fields = new Map(head.slice(1).map((line) => [line.split(":")[0].toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
    const status = side ? Number(head[0].slice(9, 12)) : 0;
    const isLast = status === 0 || status >= 200 || status === 101;
    const body = httpBody(bytes, stop + 4, fields, status, side ? methods[answered] : null);
    const said = message(side, at, body.end, head[0], [...head.slice(1), ...body.lines]);
    said.method = head[0].split(" ")[0];
    said.isInterim = !isLast;
    found.push(said);
    if (isLast) answered += 1;
    at = Math.max(body.end, stop + 4);
    const switched = status === 101 || (side && methods[answered - 1] === "CONNECT" && status < 300);
    if (switched) return [...found, ...rest(side, bytes, at, "of another protocol")];
  }
  return found;
}

function httpBody(bytes, from, fields, status, method) {
  const none = method === "HEAD" || status === 204 || status === 304 || (status && status < 200);
  if (none) return { end: from, lines: [] };
  if (/chunked/i.test(fields.get("transfer-encoding") || "")) return chunkedBody(bytes, from, fields);
  const length = fields.get("content-length");
  if (length !== undefined && /^\d{1,15}$/.test(length)) {
    return bodyLines(bytes.subarray(from, from + Number(length)), Math.min(bytes.length, from + Number(length)), Number(length), fields);
  }
  return status ? bodyLines(bytes.subarray(from), bytes.length, bytes.length - from, fields) : { end: from, lines: [] };
}

function chunkedBody(bytes, from, fields) {
  const pieces = [];
  let at = from;
  for (;;) {
    const stop = indexOfBytes(bytes, CRLF, at, Math.min(bytes.length, at + 1024));
    const length = stop < 0 ? NaN : parseInt(latin(bytes.subarray(at, stop)), 16);
    if (!(length >= 0)) return bodyLines(joined(pieces), bytes.length, NaN, fields);
    if (length === 0) {
      const end = stop + 2 <= bytes.length && bytes[stop + 2] === 13 ? stop + 4 : indexOfBytes(bytes, BLANK_LINE, stop) + 4;
      const body = joined(pieces);
      return bodyLines(body, Math.min(bytes.length, end > stop ? end : bytes.length), body.length, fields);
    }
    pieces.push(bytes.subarray(stop + 2, stop + 2 + length));
    at = stop + 2 + length + 2;
    if (at > bytes.length) return bodyLines(joined(pieces), bytes.length, NaN, fields);
  }
}

function joined(pieces) {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  pieces.reduce((at, piece) => (whole.set(piece, at), at + piece.length), 0);
  return whole;
}

function bodyLines(body, end, length, fields) {
  if (!body.length && !length) return { end, lines: [] };
  const told = body.length === length ? counted(length, "byte") : `${counted(body.length, "byte")} of ${Number.isNaN(length) ? "more" : length.toLocaleString("en")}`;
  const isText = /^text\/|json|xml|javascript|urlencoded/i.test(fields.get("content-type") || "") && !fields.get("content-encoding");
  return { end, lines: ["", `body: ${told}`, ...(isText ? textLines(utf8(body)) : [])] };
}

// Redis (RESP)

const DEPTH_MOST = 16;

function respValue(bytes, at, depth = 0) {
  const stop = indexOfBytes(bytes, CRLF, at, Math.min(bytes.length, at + 64 * 1024));
  if (stop < 0 || depth > DEPTH_MOST) return null;
  const type = String.fromCharCode(bytes[at]);
  const word = utf8(bytes.subarray(at + 1, stop));
  if ("+-:,(#".includes(type)) return { type, end: stop + 2, text: word };
  if (type === "_") return { type, end: stop + 2, text: "null" };
  if (!/^-?\d{1,10}$/.test(word)) return null;
  const length = Number(word);
  if (length < 0) return "$*".includes(type) ? { type: "_", end: stop + 2, text: "null" } : null;
  if ("$!=".includes(type)) {
    const end = stop + 2 + length + 2;
    return end > bytes.length ? null : { type, end, text: utf8(bytes.subarray(stop + 2, end - 2)) };
  }
  if (!"*%~>|".includes(type)) return null;
  const parts = [];
  let end = stop + 2;
  for (let k = 0; k < length * ("%|".includes(type) ? 2 : 1); k += 1) {
    const part = respValue(bytes, end, depth + 1);
    if (part === null) return null;
    parts.push(part);
    end = part.end;
  }
  return { type, end, parts };
}

function respText(value) {
  if (!value.parts) return "$=".includes(value.type) ? quoted(value.text) : value.text;
  const [open, close] = "%|".includes(value.type) ? ["{", "}"] : ["[", "]"];
  return `${open}${value.parts.slice(0, 20).map(respText).join(", ")}${value.parts.length > 20 ? ", …" : ""}${close}`;
}

function respLines(value, indent = "") {
  if (!value.parts) return [indent + shortened(respText(value), MOST_WIDTH)];
  return value.parts.slice(0, MOST_LINES).flatMap((part, at) => (part.parts ? [`${indent}${at + 1})`, ...respLines(part, indent + "   ")] : [`${indent}${at + 1}) ${shortened(respText(part), MOST_WIDTH)}`]));
}

function quoted(text) {
  return /^[!#-&(-~]+$/.test(text) ? text : JSON.stringify(text);
}

function parseRedis(bytes, side) {
  const found = [];
  let at = 0;
  while (at < bytes.length) {
    if (found.length >= MOST_MESSAGES) return [...found, ...rest(side, bytes, at, TOO_MANY)];
    const isInline = !side && bytes[at] !== 42;
    const stop = isInline ? indexOfBytes(bytes, [10], at, Math.min(bytes.length, at + 64 * 1024)) : -1;
    const value = isInline ? (stop < 0 ? null : { type: "+", end: stop + 1, text: utf8(bytes.subarray(at, stop)).trim() }) : respValue(bytes, at);
    if (value === null) return [...found, ...rest(side, bytes, at, "not a whole message of Redis")];
    const isArray = Boolean(value.parts);
    const words = isArray && !side ? value.parts.map(respText).join(" ") : null;
    const title = words !== null ? words : value.type === "-" ? `error: ${value.text}` : respText(value);
    const said = message(side, at, value.end, title, isArray && side && value.parts.length > 1 ? respLines(value).slice(0, MOST_LINES) : []);
    said.isInterim = side === 1 && value.type === ">";
    found.push(said);
    at = value.end;
  }
  return found;
}

// PostgreSQL, protocol 3

const PG_CLIENT = { B: "Bind", C: "Close", d: "CopyData", c: "CopyDone", f: "CopyFail", D: "Describe", E: "Execute", H: "Flush", F: "FunctionCall", P: "Parse", p: "Password", Q: "Query", S: "Sync", X: "Terminate" };
const PG_SERVER = { R: "Authentication", K: "BackendKeyData", 2: "BindComplete", 3: "CloseComplete", C: "CommandComplete", d: "CopyData", c: "CopyDone", G: "CopyInResponse", H: "CopyOutResponse", W: "CopyBothResponse", D: "DataRow", I: "EmptyQueryResponse", E: "ErrorResponse", V: "FunctionCallResponse", v: "NegotiateProtocolVersion", n: "NoData", N: "NoticeResponse", A: "NotificationResponse", t: "ParameterDescription", S: "ParameterStatus", 1: "ParseComplete", s: "PortalSuspended", Z: "ReadyForQuery", T: "RowDescription" };
const PG_OPENERS = { 196608: "Startup", 196610: "Startup", 80877103: "SSLRequest", 80877104: "GSSENCRequest", 80877102: "CancelRequest" };
const PG_SECRET = "(not shown here)";

function u16(bytes, at) {
  return at + 2 <= bytes.length ? (bytes[at] << 8) | bytes[at + 1] : 0;
}

function u32(bytes, at) {
  return at + 4 <= bytes.length ? ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0 : 0;
}

function strings(body) {
  return utf8(body).split("\0").slice(0, -1);
}

function parsePostgres(bytes, side, opener) {
  const found = [];
  let at = 0;
  if (side === 1 && opener.answerBytes) {
    const answer = String.fromCharCode(...bytes.subarray(0, opener.answerBytes));
    for (let k = 0; k < answer.length; k += 1) {
      const said = message(1, k, k + 1, answer[k] === "N" ? "N: no encryption" : `${answer[k]}: encryption follows`);
      found.push({ ...said, type: "encryption" });
    }
    if (/[SG]/.test(answer)) return [...found, ...rest(1, bytes, opener.answerBytes, "encrypted")];
    at = opener.answerBytes;
  }
  let isOpening = side === 0;
  while (at < bytes.length) {
    if (found.length >= MOST_MESSAGES) return [...found, ...rest(side, bytes, at, TOO_MANY)];
    const from = isOpening ? at : at + 1;
    const length = u32(bytes, from);
    const end = from + length;
    const code = u32(bytes, from + 4);
    const type = isOpening ? "" : String.fromCharCode(bytes[at]);
    const name = isOpening ? PG_OPENERS[code] : (side ? PG_SERVER : PG_CLIENT)[type];
    if (name === undefined || length < 4 || end > bytes.length) return [...found, ...rest(side, bytes, at, "not a whole message of PostgreSQL")];
    const said = isOpening ? pgOpening(at, end, name, bytes.subarray(from + 8, end)) : pgMessage(side, at, end, type, name, bytes.subarray(from + 4, end));
    said.type = type || name;
    found.push(said);
    isOpening = isOpening && name !== "Startup";
    at = end;
  }
  return found;
}

function pgOpening(at, end, name, body) {
  if (name !== "Startup") return message(0, at, end, name);
  const words = strings(body);
  const lines = [];
  for (let k = 0; k + 1 < words.length; k += 2) lines.push(`${words[k]} = ${words[k + 1]}`);
  return message(0, at, end, `Startup ${lines.filter((line) => /^(user|database) /.test(line)).join(", ")}`, lines.slice(0, MOST_LINES));
}

function pgMessage(side, at, end, type, name, body) {
  const done = (title, lines) => message(side, at, end, title, lines);
  if (side === 0) {
    if (type === "Q") return pgQuery(done, strings(body)[0] || "");
    if (type === "P") return done(`Parse ${quoted(strings(body)[0] || "")}: ${strings(body)[1] || ""}`);
    if (type === "B") return done(`Bind ${(strings(body).slice(0, 2) || []).map(quoted).join(" ")}`, pgBound(body));
    if (type === "p") return done(`${name} ${PG_SECRET}`);
    return done(type === "E" || type === "D" || type === "C" ? `${name} ${quoted(asciiOf(body).replace(/\.+$/, ""))}` : name);
  }
  if (type === "E" || type === "N") {
    const fields = new Map(strings(body).map((field) => [field[0], field.slice(1)]));
    return done(`${name}: ${fields.get("S") || ""} ${fields.get("C") || ""} ${fields.get("M") || ""}`);
  }
  if (type === "C" || type === "S") return done(`${name} ${strings(body).join(" = ")}`);
  if (type === "T") return done(`${name} ${pgColumns(body).join(", ")}`);
  if (type === "D") return done(`${name} ${pgValues(body, 0).join(" | ")}`);
  if (type === "R") return done(u32(body, 0) === 0 ? "AuthenticationOk" : `Authentication, method ${u32(body, 0)}`);
  if (type === "Z") return done(`ReadyForQuery (${{ I: "idle", T: "in a transaction", E: "in a failed transaction" }[String.fromCharCode(body[0])] || "?"})`);
  return done(name);
}

function pgQuery(done, text) {
  const lines = textLines(text);
  return lines.length > 1 ? done(`Query ${lines.find((line) => line.trim()) || ""} …`, lines) : done(`Query ${text}`);
}

function pgColumns(body) {
  const names = [];
  for (let k = u16(body, 0), at = 2; k > 0 && at < body.length; k -= 1) {
    const stop = body.indexOf(0, at);
    if (stop < 0) break;
    names.push(utf8(body.subarray(at, stop)));
    at = stop + 19;
  }
  return names;
}

function pgValues(body, from) {
  const values = [];
  for (let k = u16(body, from), at = from + 2; k > 0 && at + 4 <= body.length; k -= 1) {
    const length = u32(body, at) | 0;
    values.push(length < 0 ? "null" : shortened(utf8(body.subarray(at + 4, Math.min(body.length, at + 4 + Math.min(length, 1000)))), 400));
    at += 4 + Math.max(0, length);
  }
  return values;
}

function pgBound(body) {
  const portal = body.indexOf(0);
  const statement = body.indexOf(0, portal + 1);
  if (portal < 0 || statement < 0) return [];
  return pgValues(body, statement + 3 + 2 * u16(body, statement + 1)).slice(0, MOST_LINES).map((value, at) => `$${at + 1} = ${value}`);
}

// DNS (RFC 1035)

const DNS_TYPES = { 1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 41: "OPT", 64: "SVCB", 65: "HTTPS", 252: "AXFR", 255: "ANY" };
const DNS_CODES = { 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED" };

function dnsName(bytes, at) {
  const labels = [];
  let end = -1;
  for (let steps = 0; steps < 128 && at < bytes.length; steps += 1) {
    const length = bytes[at];
    if (length === 0) return { name: labels.join(".") || ".", end: end < 0 ? at + 1 : end };
    if (length >= 0xc0) {
      if (end < 0) end = at + 2;
      at = u16(bytes, at) & 0x3fff;
    } else {
      if (length > 63) return null;
      labels.push(utf8(bytes.subarray(at + 1, at + 1 + length)));
      at += 1 + length;
    }
  }
  return null;
}

function dnsMessage(bytes) {
  if (bytes.length < 12) return null;
  const flags = u16(bytes, 2);
  const counts = [4, 6, 8, 10].map((at) => u16(bytes, at));
  const type = (number) => DNS_TYPES[number] || `TYPE${number}`;
  const questions = [];
  const records = [];
  let at = 12;
  for (let k = 0; k < counts[0]; k += 1) {
    const asked = dnsName(bytes, at);
    if (asked === null || asked.end + 4 > bytes.length) return null;
    questions.push(`${type(u16(bytes, asked.end))} ${asked.name}`);
    at = asked.end + 4;
  }
  for (let k = counts[1] + counts[2] + counts[3]; k > 0 && records.length < MOST_LINES; k -= 1) {
    const owner = dnsName(bytes, at);
    if (owner === null || owner.end + 10 > bytes.length) break;
    const data = owner.end + 10;
    const length = u16(bytes, owner.end + 8);
    if (data + length > bytes.length) break;
    const number = u16(bytes, owner.end);
    records.push({ type: number, text: `${owner.name} ${u32(bytes, owner.end + 4)} ${type(number)}`, value: dnsData(bytes, number, data, length) });
    at = data + length;
  }
  return { id: u16(bytes, 0), isAnswer: flags >= 0x8000, code: flags & 15, questions, records, answers: counts[1] };
}

function dnsData(bytes, type, at, length) {
  const data = bytes.subarray(at, at + length);
  if (type === 1 && length === 4) return data.join(".");
  if (type === 28 && length === 16) return Array.from({ length: 8 }, (_, k) => u16(data, 2 * k).toString(16)).join(":").replace(/(^|:)0(:0)+(:|$)/, "::");
  const skipped = { 2: 0, 5: 0, 12: 0, 15: 2, 33: 6 }[type];
  if (skipped !== undefined) {
    const target = dnsName(bytes, at + skipped);
    const name = target === null ? "?" : target.name;
    if (type === 15) return `${u16(data, 0)} ${name}`;
    return type === 33 ? `${u16(data, 0)} ${u16(data, 2)} ${u16(data, 4)} ${name}` : name;
  }
  return type === 16 ? JSON.stringify(utf8(data.subarray(1))) : counted(length, "byte");
}

function dnsSaid(side, at, end, bytes) {
  const parsed = dnsMessage(bytes);
  if (parsed === null) return message(side, at, end, `${counted(end - at, "byte")}, not DNS`);
  const asked = parsed.questions.join(", ");
  const values = parsed.records.slice(0, parsed.answers).map((record) => record.value);
  const outcome = parsed.code ? DNS_CODES[parsed.code] || `code ${parsed.code}` : values.join(", ") || "no answer records";
  const said = message(side, at, end, parsed.isAnswer ? `${asked}: ${outcome}` : asked || "no question", parsed.records.filter((record) => record.type !== 41).map((record) => `${record.text} ${record.value}`));
  said.id = parsed.id;
  said.isAnswer = parsed.isAnswer;
  return said;
}

function parseDnsStream(bytes, side) {
  const found = [];
  let at = 0;
  while (at + 2 <= bytes.length) {
    const end = at + 2 + u16(bytes, at);
    if (end > bytes.length || end < at + 14) break;
    found.push(dnsSaid(side, at, end, bytes.subarray(at + 2, end)));
    at = end;
  }
  return [...found, ...rest(side, bytes, at, "not a whole message of DNS")];
}

// Which one it is, and what belongs to what

function pairByOrder(requests, answers) {
  const ordered = [];
  let answer = 0;
  for (const request of requests) {
    ordered.push(request);
    while (answer < answers.length && answers[answer].isInterim) ordered.push(answers[answer++]);
    if (answer < answers.length) {
      answers[answer].request = request;
      ordered.push(answers[answer++]);
    }
  }
  return [...ordered, ...answers.slice(answer)];
}

// A request is all up to Query, Sync or Terminate; its answer all up to ReadyForQuery. Before them each request for
// encryption has an answer of one byte.
function pairPostgres(requests, answers) {
  const isAsking = (said) => ["SSLRequest", "GSSENCRequest"].includes(said.type);
  const isAnswer = (said) => said.type === "encryption";
  return [
    ...pairByOrder(requests.filter(isAsking), answers.filter(isAnswer)),
    ...pairQueries(requests.filter((said) => !isAsking(said)), answers.filter((said) => !isAnswer(said))),
  ];
}

function pairQueries(requests, answers) {
  const groups = (messages, isLast) => {
    const found = [[]];
    for (const said of messages) {
      found[found.length - 1].push(said);
      if (isLast(said)) found.push([]);
    }
    return found.filter((group) => group.length);
  };
  const opening = requests.findIndex((said) => !["Startup", "p"].includes(said.type));
  const first = opening < 0 ? requests : requests.slice(0, opening);
  const asked = [first, ...groups(opening < 0 ? [] : requests.slice(opening), (said) => "QSX".includes(said.type))];
  const answered = groups(answers, (said) => said.type === "Z");
  const ordered = [];
  for (let k = 0; k < Math.max(asked.length, answered.length); k += 1) {
    const request = asked[k] || [];
    const answer = answered[k] || [];
    if (request.length && answer.length) answer[answer.length - 1].request = request[request.length - 1];
    ordered.push(...request, ...answer);
  }
  return ordered;
}

function pairDns(messages) {
  const asked = new Map();
  const answers = new Map();
  const ordered = [];
  for (const said of messages) {
    const key = `${said.id}/${said.isAnswer ? 1 - said.side : said.side}`;
    if (said.isAnswer && asked.has(key)) {
      said.request = asked.get(key);
      answers.set(said.request, said);
    } else {
      if (said.id !== undefined && !said.isAnswer) asked.set(key, said);
      ordered.push(said);
    }
  }
  return ordered.flatMap((said) => (answers.has(said) ? [said, answers.get(said)] : [said]));
}

// What a conversation is: { name, messages } in pairs, or null. `streams` are the client's and the server's bytes;
// `datagrams` are [side, from, to] of each, where it is none of TCP.
function decode(streams, ports, datagrams) {
  const [client, server] = streams;
  if (datagrams) {
    if (!ports.some((port) => port === 53 || port === 5353)) return null;
    return { name: "DNS", messages: pairDns(datagrams.map(([side, from, to]) => dnsSaid(side, from, to, streams[side].subarray(from, to)))) };
  }
  const begins = [latin(client.subarray(0, 300)), latin(server.subarray(0, 300))];
  if (/^[A-Z]{1,20} \S+ HTTP\/1/.test(begins[0]) || /^HTTP\/1\.[01] \d/.test(begins[1])) {
    const requests = parseHttp(client, 0, []);
    return { name: "HTTP", messages: pairByOrder(requests, parseHttp(server, 1, requests.map((said) => said.method))) };
  }
  const opener = pgOpener(client);
  if (opener) return { name: "PostgreSQL", messages: pairPostgres(parsePostgres(client, 0, opener), parsePostgres(server, 1, opener)) };
  if (/^\*\d{1,6}\r\n\$\d/.test(begins[0]) || (ports[1] === 6379 && /^[A-Za-z]+[^\0]*\r?\n/.test(begins[0]))) {
    return { name: "Redis", messages: pairByOrder(parseRedis(client, 0), parseRedis(server, 1)) };
  }
  if (ports[1] === 53 && client.length >= 14) return { name: "DNS", messages: pairDns([...parseDnsStream(client, 0), ...parseDnsStream(server, 1)]) };
  return null;
}

function pgOpener(client) {
  let answerBytes = 0;
  let at = 0;
  while (u32(client, at) === 8 && [80877103, 80877104].includes(u32(client, at + 4))) {
    answerBytes += 1;
    at += 8;
  }
  const isOne = PG_OPENERS[u32(client, at + 4)] !== undefined && u32(client, at) >= 8 && u32(client, at) < 10000;
  return isOne || at ? { answerBytes } : null;
}
