// One conversation as lines: what each side said, as requests and answers, text or hex; a replay's divergences in
// their places, expected beside actual.

const LINE = 20;
const WRAP_LEAST = 24;
const REDACTED = "█"; // one a byte, in text
const LINES_MOST = 100_000; // made at once: more take longer than a person waits

class Conversation {
  constructor(model) {
    this.model = model;
    this.mode = "text";
    this.flow = -1;
    this.wanted = "";
    this.lines = [];
    this.list = new List(byId("talk"), LINE, (at) => this.row(at));
    for (const mode of ["decoded", "text", "hex"]) {
      byId(`mode-${mode}`).addEventListener("click", () => {
        this.chosen = mode;
        this.open(this.flow, this.event);
      });
    }
    new ResizeObserver(() => this.flow >= 0 && this.width !== this.columns() && this.open(this.flow, this.event)).observe(byId("talk"));
  }

  // Show a flow; `event` comes into sight.
  open(flow, event = -1) {
    if (flow < 0) return;
    this.flow = flow;
    this.event = event;
    const its = this.model.flows[flow];
    this.streams = [bytesOfStream(this.model, flow, 0), bytesOfStream(this.model, flow, 1)];
    this.events = eventsOf(this.model, flow);
    this.decoded = this.decode(its);
    this.mode = this.chosen === "decoded" && !this.decoded ? "text" : this.chosen || (this.decoded ? "decoded" : "text");
    this.width = this.columns();
    this.placeOf = new Map();
    this.lines = [...this.unplaced(its), ...this.makeLines(0)];
    if (event >= 0 && !this.placeOf.has(event) && this.mode !== "decoded") {
      this.lines = [...this.unplaced(its), ...this.makeLines(this.events.indexOf(event))];
    }
    this.describe(its);
    this.list.show(this.lines.length);
    this.list.scrollTo(event < 0 ? 0 : this.placeOf.get(event) || 0);
  }

  close() {
    this.flow = -1;
    this.lines = [];
    this.list.show(0);
    byId("talk-about").textContent = "Choose a connection.";
  }

  columns() {
    return Math.max(WRAP_LEAST, Math.floor((this.list.box.clientWidth - 38) / 7.23));
  }

  decode(its) {
    const datagrams = its.protocol === "TCP" ? null : this.spans().map(({ side, from, to }) => [side, from, to]);
    return decode(this.streams, its.ports, datagrams);
  }

  // Where in its direction each chunk's bytes lie.
  spans() {
    if (this.spansOf === this.flow) return this.kept;
    const position = [0, 0];
    const said = [0, 0];
    this.spansOf = this.flow;
    this.kept = [];
    for (const event of this.events) {
      if (!isTalk(this.model, event)) continue;
      const side = sideOf(this.model, event);
      const length = this.model.length[event];
      const from = position[side];
      position[side] += this.model.kept[event];
      this.kept.push({ event, side, from, to: position[side], offset: said[side], length, time: this.model.seconds[event] });
      said[side] += length;
    }
    return this.kept;
  }

  describe(its) {
    const about = [`${its.name} ${its.places[0]} → ${its.places[1]}`, `${counted(its.bytes[0], "byte")} to server, ${counted(its.bytes[1], "byte")} to client`];
    if (this.decoded) about.push(this.decoded.name);
    if (its.ending) about.push(its.ending);
    const held = [0, 1].map((side) => this.streams[side].length);
    if (held[0] < its.bytes[0] || held[1] < its.bytes[1]) about.push(`this page holds the first ${held[0].toLocaleString("en")} and ${held[1].toLocaleString("en")}`);
    const redacted = [0, 1].reduce((sum, side) => sum + redactedWithin(this.model, 2 * this.flow + side, 0, held[side]), 0);
    if (redacted) about.push(`${counted(redacted, "byte")} redacted`);
    byId("talk-about").textContent = about.join(" · ");
    const button = byId("mode-decoded");
    button.disabled = !this.decoded;
    button.title = this.decoded ? this.decoded.name : "neither HTTP, Redis, PostgreSQL nor DNS";
    for (const mode of ["decoded", "text", "hex"]) byId(`mode-${mode}`).setAttribute("aria-pressed", String(mode === this.mode));
  }

  makeLines(from) {
    return this.mode === "decoded" ? this.decodedLines() : this.chunkLines(from, this.mode === "hex" ? (span) => this.hexLines(span) : this.textReader());
  }

  chunkLines(from, linesOf) {
    const spans = new Map(this.spans().map((span) => [span.event, span]));
    const lines = from ? [leftOut(from, "earlier")] : [];
    for (let at = from; at < this.events.length; at += 1) {
      const event = this.events[at];
      if (lines.length >= LINES_MOST) {
        lines.push(leftOut(this.events.length - at, "later"));
        break;
      }
      this.placeOf.set(event, lines.length);
      const span = spans.get(event);
      lines.push({ head: this.headOf(event), side: sideOf(this.model, event), quiet: !span });
      if (span) {
        for (const line of linesOf(span)) lines.push(line);
        if (span.to - span.from < span.length) lines.push({ text: `… ${counted(span.length - (span.to - span.from), "byte")} not in this page`, side: span.side, quiet: true });
      }
      this.pushDivergences(lines, (each) => each.event === event);
    }
    return lines;
  }

  headOf(event) {
    const side = sideOf(this.model, event);
    const flow = this.model.flows[this.flow];
    const what = isTalk(this.model, event) ? counted(this.model.length[event], "byte") : KIND_WORDS[this.model.kinds[kindOf(this.model, event)]];
    const arrow = isTalk(this.model, event) ? ` → ${flow.places[1 - side]}` : "";
    return `${seconds(this.model.seconds[event])}  ${flow.places[side]}${arrow}  ${what}`;
  }

  // Characters may begin in one chunk and end in the next; in datagrams they may not.
  textReader() {
    const isStream = this.model.flows[this.flow].protocol === "TCP";
    const decoders = [0, 1].map(() => new TextDecoder("utf-8", { ignoreBOM: true }));
    const last = [0, 1].map((side) => this.bySide(side).at(-1));
    return (span) => {
      const { side, from, to } = span;
      let text = "";
      for (const [start, end, isRedacted] of redactedPieces(this.model, 2 * this.flow + side, from, to)) {
        text += isRedacted ? REDACTED.repeat(end - start) : decoders[side].decode(this.streams[side].subarray(start, end), { stream: true });
      }
      if (!isStream || span === last[side]) text += decoders[side].decode();
      return this.wrapped(text, side);
    };
  }

  wrapped(text, side, className = "") {
    const lines = [];
    const pieces = text.split("\n");
    pieces.forEach((piece, at) => {
      if (at === pieces.length - 1 && piece === "" && at) return;
      const shown = visible(piece.endsWith("\r") ? piece.slice(0, -1) : piece);
      for (let from = 0; from < shown.length || from === 0; from += this.width) {
        lines.push({ text: shown.slice(from, from + this.width), side, className });
      }
    });
    return lines;
  }

  hexLines({ side, from, to, offset }) {
    const width = this.width < 75 ? 8 : 16;
    const lines = [];
    for (let at = from; at < to; at += width) {
      lines.push({ hex: [offset + at - from, side, at, Math.min(to, at + width), width], side });
    }
    return lines;
  }

  decodedLines() {
    const lines = [];
    for (const [at, said] of this.decoded.messages.entries()) {
      if (lines.length >= LINES_MOST) {
        lines.push({ text: `… ${counted(this.decoded.messages.length - at, "later message")} not shown here`, quiet: true });
        break;
      }
      const span = this.spanAt(said.side, said.at);
      const event = span ? span.event : -1;
      const since = said.request ? this.spanAt(said.request.side, said.request.end - 1) : null;
      const took = span && since && span.time >= since.time ? `  after ${duration(span.time - since.time)}` : "";
      const time = span ? seconds(span.time) : "";
      for (const each of this.spansWithin(said)) if (!this.placeOf.has(each.event)) this.placeOf.set(each.event, lines.length);
      const [first, ...more] = this.wrapped(`${time}  ${said.side ? "←" : "→"} ${said.title.replace(/[\r\n]/g, " ")}${took}`, said.side);
      lines.push({ head: first.text, side: said.side, event }, ...more);
      const redacted = redactedWithin(this.model, 2 * this.flow + said.side, said.at, said.end);
      if (redacted) lines.push({ text: `${counted(redacted, "byte")} of it redacted: x stands for them`, side: said.side, className: "redacted" });
      for (const line of said.lines) for (const part of this.wrapped(line, said.side, "detail")) lines.push(part);
      this.pushDivergences(lines, (each) => each.side === said.side && this.isWithin(each, said));
    }
    this.pushDivergences(lines, () => true);
    return lines;
  }

  isWithin(divergence, said) {
    return divergence.event >= 0 && divergence.offset < said.end && divergence.offset >= said.at;
  }

  spanAt(side, position) {
    const spans = this.bySide(side);
    let low = 0;
    let high = spans.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (spans[middle].from <= position) low = middle;
      else high = middle;
    }
    return spans[low];
  }

  spansWithin(said) {
    const spans = this.bySide(said.side);
    const found = [];
    for (let at = spans.indexOf(this.spanAt(said.side, said.at)); at >= 0 && at < spans.length && spans[at].from < said.end; at += 1) found.push(spans[at]);
    return found;
  }

  bySide(side) {
    if (this.sidesOf !== this.flow) {
      this.sidesOf = this.flow;
      this.sides = [0, 1].map((each) => this.spans().filter((span) => span.side === each));
    }
    return this.sides[side];
  }

  // Divergences

  unplaced(its) {
    this.shown = new Set();
    const lines = [];
    const waiting = its.divergences.filter((each) => each.event < 0);
    for (const each of waiting) this.pushOne(lines, each);
    return lines;
  }

  pushDivergences(lines, belongs) {
    for (const each of this.model.flows[this.flow].divergences) {
      if (!this.shown.has(each) && belongs(each)) this.pushOne(lines, each);
    }
  }

  pushOne(lines, each) {
    this.shown.add(each);
    each.line = lines.length;
    for (const line of this.wrapped(`✗ ${each.process}, byte ${each.offset.toLocaleString("en")}: ${each.text}`, each.side)) lines.push({ ...line, wrong: true });
    for (const line of comparison(each, this.width)) lines.push(line);
  }

  openDivergence(each) {
    this.open(each.flow, each.event);
    this.list.scrollTo(each.line || 0, "center");
    this.list.box.focus({ preventScroll: true });
  }

  // Rows

  row(at) {
    const line = this.lines[at];
    const className = ["line", line.head ? "line-head" : "", line.quiet ? "quiet" : "", line.wrong ? "wrong" : "", line.className || "", line.side === 1 ? "to-client" : line.side === 0 ? "to-server" : ""].join(" ");
    if (line.hex) return make("div", className, ...this.hexCells(line.hex));
    if (line.compared) return make("div", className, ...line.compared());
    return make("div", className, ...marked(line.head || line.text || "\u00a0", this.wanted));
  }

  hexCells([offset, side, from, to, width]) {
    const bytes = this.streams[side].subarray(from, to);
    const hexes = [];
    for (const [start, end, isRedacted] of redactedPieces(this.model, 2 * this.flow + side, from, to)) {
      const hex = hexOf(this.streams[side].subarray(start, end));
      hexes.push(isRedacted ? make("span", "redacted", hex) : hex, end < to ? " " : "");
    }
    const blanks = " ".repeat(3 * (width - (to - from)) + 2);
    return [make("span", "offset", offset.toString(16).padStart(8, "0")), "  ", ...hexes, blanks, ...marked(asciiOf(bytes), this.wanted)];
  }
}

function leftOut(count, when) {
  return { text: `… ${counted(count, `${when} event`)} not shown here: choose one in the sequence`, quiet: true };
}

const BESIDE_LEAST = 76; // columns

// Expected beside actual, or one below the other where there is no room; what differs is marked.
function comparison(each, columns) {
  const both = [bytesOfHex(each.expected), bytesOfHex(each.actual)];
  const isBeside = columns >= BESIDE_LEAST;
  const width = columns >= (isBeside ? 2 * BESIDE_LEAST : BESIDE_LEAST) ? 16 : 8;
  const lines = [];
  if (isBeside && both.some((side) => side.length)) {
    lines.push({ wrong: true, text: `${" ".repeat(7)}${"expected".padEnd(4 * width + 1)}   actual` });
  }
  for (let at = 0; at < Math.max(...both.map((side) => side.length)); at += width) {
    const offset = `${String(each.window + at).padStart(5)}  `;
    const cells = both.map((mine, k) => differing(mine, both[1 - k], at, width));
    if (isBeside) lines.push(compared(offset, ...cells[0], " │ ", ...cells[1]));
    else ["expected", "actual  "].forEach((name, k) => lines.push(compared(`${name} ${offset}`, ...cells[k])));
  }
  return lines;
}

function compared(offset, ...cells) {
  return { wrong: true, compared: () => [make("span", "offset", offset), ...cells.map((cell) => (typeof cell === "string" ? cell : cell.cloneNode(true)))] };
}

// A row of hex and text, in which every byte that the other does not have there is marked.
function differing(mine, other, at, width) {
  const hexes = [];
  const texts = [];
  for (let k = at; k < at + width; k += 1) {
    const hex = k < mine.length ? mine[k].toString(16).padStart(2, "0") : "  ";
    const text = k < mine.length ? asciiOf(mine.subarray(k, k + 1)) : " ";
    const differs = k < mine.length && mine[k] !== other[k];
    hexes.push(differs ? make("b", "differs", hex) : hex, " ");
    texts.push(differs ? make("b", "differs", text) : text);
  }
  return [...hexes, " ", ...texts];
}
