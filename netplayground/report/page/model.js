// The recording in memory: columns of events, flows, payload; and what of it the filters let through.

const SIDE_BIT = 0x80;

function readModel() {
  const meta = JSON.parse(byId("data").textContent);
  const column = (name, Type) => new Type(bytesOfBase64(meta.columns[name]).buffer);
  const model = {
    meta,
    seconds: column("seconds", Float64Array),
    flow: column("flow", Uint32Array),
    kind: column("kind", Uint8Array),
    length: column("length", Float64Array),
    kept: column("kept", Uint32Array),
    lanes: meta.lanes.map(visible),
    kinds: meta.kinds,
    flows: meta.flows.map(readFlow),
    talk: Uint8Array.from({ length: 256 }, (_, code) => (["chunk", "datagram"].includes(meta.kinds[code & ~SIDE_BIT]) ? 1 : 0)),
  };
  model.count = model.seconds.length;
  model.end = model.seconds.reduce((most, value) => (value > most ? value : most), 0);
  model.flows.forEach((flow) => nameFlow(model, flow));
  readRedacted(model);
  placePayload(model);
  pairLanes(model);
  markDiverged(model);
  return model;
}

// What was redacted, by direction: where in its bytes each span begins and ends.
function readRedacted(model) {
  const triples = new Uint32Array(bytesOfBase64(model.meta.redacted).buffer);
  model.redacted = new Map();
  for (let at = 0; at < triples.length; at += 3) {
    const [stream, ...span] = triples.subarray(at, at + 3);
    if (!model.redacted.has(stream)) model.redacted.set(stream, []);
    model.redacted.get(stream).push(span);
  }
}

// Some bytes of a direction in pieces [from, to, whether it was redacted].
function* redactedPieces(model, stream, from, to) {
  const spans = model.redacted.get(stream) || [];
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle][1] <= from) low = middle + 1;
    else high = middle;
  }
  for (; low < spans.length && spans[low][0] < to; low += 1) {
    const [start, end] = [Math.max(from, spans[low][0]), Math.min(to, spans[low][1])];
    if (from < start) yield [from, start, false];
    yield [start, end, true];
    from = end;
  }
  if (from < to) yield [from, to, false];
}

function redactedWithin(model, stream, from, to) {
  let count = 0;
  for (const [start, end, isRedacted] of redactedPieces(model, stream, from, to)) if (isRedacted) count += end - start;
  return count;
}

function readFlow(row, index) {
  const [protocol, id, clientLane, serverLane, client, server, opened, closed, ...numbers] = row;
  const [sent, received, sentChunks, receivedChunks, ending, keptSent, keptReceived] = numbers;
  return { index, protocol, id, lanes: [clientLane, serverLane], ends: [client, server], opened, closed, bytes: [sent, received], chunks: [sentChunks, receivedChunks], ending, kept: [keptSent, keptReceived], divergences: [] };
}

function portOf(end) {
  const found = /(?:^[\d.]+|\]):(\d+)$/.exec(end);
  return found ? Number(found[1]) : 0;
}

function nameFlow(model, flow) {
  flow.ports = flow.ends.map(portOf);
  const place = (side) => `${model.lanes[flow.lanes[side]]}${flow.ports[side] ? ":" + flow.ports[side] : ""}`;
  flow.places = [place(0), place(1)];
  flow.name = flow.id === null ? flow.protocol : `#${flow.id}`;
  flow.label = `${flow.name} ${flow.protocol} ${flow.places[0]} → ${flow.places[1]} ${flow.ends.join(" ")} ${flow.ending}`.toLowerCase();
}

// Where each chunk's bytes lie: flows one after the other, the client's direction before the server's.
function placePayload(model) {
  const { flows, flow, kind, kept, count } = model;
  model.streams = new Float64Array(2 * flows.length + 1);
  flows.forEach((each, at) => {
    model.streams[2 * at + 1] = model.streams[2 * at] + each.kept[0];
    model.streams[2 * at + 2] = model.streams[2 * at + 1] + each.kept[1];
  });
  const next = model.streams.slice();
  model.offset = new Float64Array(count);
  const heads = new Uint32Array(flows.length + 1);
  for (let event = 0; event < count; event += 1) {
    const stream = 2 * flow[event] + (kind[event] & SIDE_BIT ? 1 : 0);
    model.offset[event] = next[stream];
    next[stream] += kept[event];
    heads[flow[event] + 1] += 1;
  }
  for (let at = 0; at < flows.length; at += 1) heads[at + 1] += heads[at];
  model.heads = heads.slice();
  model.ofFlow = new Uint32Array(count); // events by flow, in order
  for (let event = 0; event < count; event += 1) model.ofFlow[heads[flow[event]]++] = event;
  orderPayload(model);
}

// The chunks that have bytes here, in the order in which these lie.
function orderPayload(model) {
  const order = new Uint32Array(model.count);
  let chunks = 0;
  for (let stream = 0; stream < model.streams.length - 1; stream += 1) {
    for (const event of eventsOf(model, stream >> 1)) {
      if (model.kept[event] && sideOf(model, event) === (stream & 1)) order[chunks++] = event;
    }
  }
  model.inPayload = order.subarray(0, chunks);
}

// Flows between the same two lanes are one pair: on a chart of lanes they fall on one another.
function pairLanes(model) {
  const numbers = new Map();
  model.pairOf = Uint32Array.from(model.flows, ({ lanes }) => {
    const key = lanes.join(" ");
    if (!numbers.has(key)) numbers.set(key, numbers.size);
    return numbers.get(key);
  });
  model.pairs = numbers.size;
}

function eventsOf(model, flow) {
  return model.ofFlow.subarray(model.heads[flow], model.heads[flow + 1]);
}

function sideOf(model, event) {
  return model.kind[event] & SIDE_BIT ? 1 : 0;
}

function kindOf(model, event) {
  return model.kind[event] & ~SIDE_BIT;
}

function isTalk(model, event) {
  return model.talk[model.kind[event]] === 1;
}

// All payload as one character a byte: unpacked when it is first needed, or when the page has nothing else to do.
// It comes last in the document, so that the page stands before all of it has been read: until then, none.
function payloadText(model) {
  if (document.readyState === "loading") return "";
  if (model.payload === undefined) {
    const element = byId("payload");
    model.payload = atob(element.textContent);
    element.remove();
  }
  return model.payload;
}

function loweredPayload(model) {
  if (document.readyState === "loading") return "";
  if (model.lowered === undefined) model.lowered = payloadText(model).toLowerCase();
  return model.lowered;
}

function bytesAt(model, from, to) {
  const text = payloadText(model);
  const bytes = new Uint8Array(Math.max(0, Math.min(to, text.length) - from));
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = text.charCodeAt(from + at);
  return bytes;
}

function bytesOfStream(model, flow, side) {
  return bytesAt(model, model.streams[2 * flow + side], model.streams[2 * flow + side + 1]);
}

function markDiverged(model) {
  model.divergences = model.meta.replays.flatMap((replay) => replay.divergences);
  for (const each of model.divergences) {
    each.at = model.meta.tape_zero + each.seconds;
    const flow = each.record === null ? undefined : model.flows[each.record];
    if (flow === undefined || flow.id !== each.record) continue;
    each.flow = flow.index;
    each.event = eventAtOffset(model, flow.index, each.side, each.offset);
    if (each.event >= 0) each.at = model.seconds[each.event];
    flow.divergences.push(each);
  }
}

// The chunk in which a direction's byte lies, else its last one; -1 where it has none.
function eventAtOffset(model, flow, side, offset) {
  let position = 0;
  let last = -1;
  for (const event of eventsOf(model, flow)) {
    if (!isTalk(model, event) || sideOf(model, event) !== side) continue;
    last = event;
    position += model.length[event];
    if (offset < position) break;
  }
  return last;
}

// Filters

const SHOWN = {
  all: ["everything", () => true],
  tcp: ["connections", (flow) => flow.protocol === "TCP"],
  datagrams: ["datagrams", (flow) => flow.protocol !== "TCP"],
  failed: ["failed or reset", (flow) => flow.protocol === "TCP" && !["closed", "open"].includes(flow.ending)],
  diverged: ["diverged", (flow) => flow.divergences.length > 0],
};

// What is searched for, as bytes: text (lower case), or "hex: 0d 0a" as it is.
function parseSearch(text) {
  const hex = /^hex:\s*((?:[0-9a-f]{2}\s*)+)$/i.exec(text.trim());
  if (hex) return { words: "", bytes: latin(bytesOfHex(hex[1].replace(/\s/g, ""))), isExact: true };
  const words = text.toLowerCase();
  return { words, bytes: latin(new TextEncoder().encode(text)).toLowerCase(), isExact: false };
}

// The events in whose bytes it is found. A find belongs to the chunk in which it begins; both rise, so one walk
// over the chunks is enough.
function findInPayload(model, search) {
  const hits = new Uint8Array(model.count);
  const text = search.isExact ? payloadText(model) : loweredPayload(model);
  const { inPayload, offset, kept } = model;
  let chunk = 0;
  let at = text.indexOf(search.bytes);
  while (at >= 0) {
    while (offset[inPayload[chunk]] + kept[inPayload[chunk]] <= at) chunk += 1;
    const event = inPayload[chunk];
    const stream = 2 * model.flow[event] + sideOf(model, event);
    const isInside = at + search.bytes.length <= model.streams[stream + 1];
    if (isInside) hits[event] = 1;
    at = text.indexOf(search.bytes, isInside ? offset[event] + kept[event] : at + 1);
  }
  return hits;
}

// Which flows and events are to be seen: { flows, events }, both by index, in order.
function applyFilter(model, state) {
  const search = state.text ? parseSearch(state.text) : null;
  const named = new Uint8Array(model.flows.length);
  const allowed = new Uint8Array(model.flows.length);
  const [, isShown] = SHOWN[state.which];
  model.flows.forEach((flow, at) => {
    allowed[at] = isShown(flow) && (state.lane < 0 || flow.lanes.includes(state.lane)) ? 1 : 0;
    named[at] = search === null || (search.words && flow.label.includes(search.words)) ? 1 : 0;
  });
  const hits = search === null || !search.bytes ? null : findInPayload(model, search);
  const [from, to] = state.range || [-Infinity, Infinity];
  const events = new Uint32Array(model.count);
  const seen = new Uint8Array(model.flows.length);
  let count = 0;
  for (let event = 0; event < model.count; event += 1) {
    const flow = model.flow[event];
    const time = model.seconds[event];
    if (!allowed[flow] || time < from || time > to || !(named[flow] || (hits && hits[event]))) continue;
    events[count++] = event;
    seen[flow] = 1;
  }
  const flows = model.flows.filter((flow, at) => seen[at] || (allowed[at] && named[at] && !state.range)).map((flow) => flow.index);
  return { events: events.subarray(0, count), flows, search };
}
