// Lists of which only what is in sight exists, by @tanstack/virtual-core. All rows of a list are equally high.

const { Virtualizer, elementScroll, observeElementOffset, observeElementRect } = libraries;
const HEIGHT_MOST = 15_000_000; // browsers lay out no higher element

class List {
  // `fill` gives the element of a row; `onSelect`, where there is one, makes rows selectable.
  constructor(box, rowHeight, fill, onSelect) {
    this.box = box;
    this.rowHeight = rowHeight;
    this.fill = fill;
    this.onSelect = onSelect;
    this.selected = -1;
    this.count = 0;
    this.inner = make("div", "rows");
    box.append(this.inner);
    this.virtualizer = new Virtualizer(this.options(0));
    this.virtualizer._didMount();
    this.virtualizer._willUpdate();
    if (onSelect) {
      box.addEventListener("keydown", (event) => this.key(event));
      this.inner.addEventListener("click", (event) => {
        const row = event.target.closest("[data-row]");
        if (row) this.select(Number(row.dataset.row));
      });
    }
  }

  options(count) {
    return {
      count,
      getScrollElement: () => this.box,
      estimateSize: () => this.rowHeight,
      overscan: 6,
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      onChange: () => this.render(),
    };
  }

  get most() {
    return Math.floor(HEIGHT_MOST / this.rowHeight);
  }

  show(count, selected = -1) {
    this.count = Math.min(count, this.most);
    this.selected = selected;
    this.isStale = this.box.hidden;
    if (!this.isStale) this.update();
  }

  // What is hidden costs nothing until it is shown.
  unhide() {
    if (this.isStale) this.update();
    else this.render();
    if (this.selected >= 0) this.scrollTo(this.selected, "auto");
  }

  update() {
    this.isStale = false;
    this.virtualizer.setOptions(this.options(this.count));
    this.virtualizer._willUpdate();
    this.inner.style.height = `${this.count * this.rowHeight}px`;
    this.render();
  }

  render() {
    const rows = this.virtualizer.getVirtualItems().map(({ index, start }) => {
      const row = this.fill(index);
      row.classList.add("row");
      row.style.transform = `translateY(${start}px)`;
      row.style.height = `${this.rowHeight}px`;
      if (this.onSelect) {
        row.dataset.row = index;
        row.id = `${this.box.id}-${index}`;
        row.setAttribute("role", "option");
        row.setAttribute("aria-selected", String(index === this.selected));
      }
      return row;
    });
    this.inner.replaceChildren(...rows);
    if (this.onSelect) this.box.setAttribute("aria-activedescendant", this.selected < 0 ? "" : `${this.box.id}-${this.selected}`);
  }

  select(index) {
    if (!this.count) return;
    this.mark(Math.max(0, Math.min(this.count - 1, index)));
    this.onSelect(this.selected);
  }

  mark(index, align = "auto") {
    this.selected = index;
    if (this.box.hidden) return;
    if (index >= 0) this.scrollTo(index, align);
    this.render();
  }

  scrollTo(index, align = "start") {
    const top = index * this.rowHeight;
    const { scrollTop, clientHeight } = this.box;
    if (align === "auto" && top >= scrollTop && top + this.rowHeight <= scrollTop + clientHeight) return;
    this.box.scrollTop = align === "auto" && top > scrollTop ? top + this.rowHeight - clientHeight : top - (align === "center" ? clientHeight / 3 : 0);
    this.virtualizer.scrollOffset = this.box.scrollTop;
    this.render();
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.rowHeight) - 1);
    const at = this.selected;
    const places = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.count - 1 };
    const place = places[event.key];
    if (place === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.select(place);
  }
}

function flowRow(model, flow) {
  const client = model.lanes[flow.lanes[0]];
  const row = make(
    "div",
    `flow-row${flow.divergences.length ? " diverged" : ""}`,
    make("span", "name", flow.name),
    make("span", "when", seconds(flow.opened)),
    make("span", "who", client, make("span", "port", flow.places[0].slice(client.length)), ` → ${flow.places[1]}`),
    make("span", "number to-server", size(flow.bytes[0])),
    make("span", "number to-client", size(flow.bytes[1])),
    make("span", "ending", flow.divergences.length ? "diverged" : flow.ending || flow.protocol),
  );
  row.title = visible(`${flow.ends[0]} → ${flow.ends[1]}, ${flow.bytes[0].toLocaleString("en")} bytes to server, ${flow.bytes[1].toLocaleString("en")} to client`);
  return row;
}

const LIFELINES_MOST = 10;

// A step of the sequence: an arrow between the lines of two processes.
function eventRow(model, event) {
  const flow = model.flows[model.flow[event]];
  const side = sideOf(model, event);
  const row = make("div", "event-row", make("span", "when", seconds(model.seconds[event])));
  if (model.lanes.length <= LIFELINES_MOST) row.append(lifelines(model, event, flow, side));
  else row.append(make("span", "who", `${flow.places[side]} → ${flow.places[1 - side]}`));
  row.append(make("span", "name", flow.name), make("span", "what", ...eventWords(model, event)));
  return row;
}

function lifelines(model, event, flow, side) {
  const box = make("span", "lifelines");
  const place = (lane) => ((lane + 0.5) / model.lanes.length) * 100;
  model.lanes.forEach((_, lane) => {
    const line = make("i", "lifeline");
    line.style.left = `${place(lane)}%`;
    box.append(line);
  });
  const [from, to] = [flow.lanes[side], flow.lanes[1 - side]];
  const arrow = make("i", `arrow ${isTalk(model, event) ? (side ? "to-client" : "to-server") : "ended"}${to < from ? " leftward" : ""}`);
  arrow.style.left = `${Math.min(place(from), place(to))}%`;
  arrow.style.width = `${Math.abs(place(from) - place(to))}%`;
  box.append(arrow);
  return box;
}

function eventWords(model, event) {
  const kind = model.kinds[kindOf(model, event)];
  if (!isTalk(model, event)) return [KIND_WORDS[kind] || kind];
  const stream = 2 * model.flow[event] + sideOf(model, event);
  const begin = model.streams[stream];
  const from = model.offset[event] - begin;
  let text = "";
  for (const [start, end, isRedacted] of redactedPieces(model, stream, from, from + Math.min(80, model.kept[event]))) {
    text += isRedacted ? REDACTED.repeat(end - start) : visible(utf8(bytesAt(model, begin + start, begin + end)));
  }
  return [make("b", "", size(model.length[event])), ` ${text}`];
}

const KIND_WORDS = { syn: "opens", established: "is accepted", fin: "ends its side", rst: "resets", refused: "is refused", unreachable: "is unreachable", unanswered: "is not answered", aborted: "gives up" };
