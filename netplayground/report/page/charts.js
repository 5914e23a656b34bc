// Two charts over the same time, by uPlot: who said something to whom, and how many bytes. They show what the
// filters let through; what the user zooms to is itself a filter, told through `onRange`.

const { uPlot } = libraries;
const ARROWS_MOST = 300;
const BIN_PIXELS = 4;
const LABEL_MOST = 16;
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, power) => 2 ** power);

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function timeLabels(u, splits) {
  const { min, max } = u.scales.x;
  const [factor, unit] = max < 0.002 ? [1e6, "µs"] : max < 2 ? [1e3, "ms"] : [1, "s"];
  const digits = Math.max(0, Math.min(9, Math.ceil(-Math.log10(((max - min) * factor) / splits.length)) + 1));
  return splits.map((value) => `${Number((value * factor).toFixed(digits))} ${unit}`);
}

function axes(yAxis) {
  const shared = { stroke: () => colour("soft"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { stroke: () => colour("line"), width: 1 }, font: "12px system-ui, sans-serif" };
  return [{ ...shared, values: timeLabels, space: 90, size: 30 }, { ...shared, ...yAxis }];
}

function chartOptions(width, height, extra) {
  return {
    width,
    height,
    legend: { show: false },
    padding: [8, 24, 0, 0],
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false }, sync: { key: "time" } },
    ...extra,
  };
}

class Charts {
  constructor(model, { onRange, onPick, onPoint }) {
    this.model = model;
    this.onRange = onRange;
    this.onPick = onPick;
    this.onPoint = onPoint;
    this.rows = "lanes";
    this.events = new Uint32Array(0);
    this.flows = [];
    this.rowOfFlow = new Int32Array(model.flows.length).fill(-1);
    this.range = null;
    this.timeline = this.makeTimeline(byId("timeline-chart"));
    this.bytes = this.makeBytes(byId("bytes-chart"));
    new ResizeObserver(() => this.resize()).observe(byId("bytes-chart"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    for (const chart of [this.timeline, this.bytes]) this.listen(chart);
  }

  get whole() {
    const end = this.model.end || 1e-3;
    return [-0.01 * end, 1.01 * end];
  }

  get rowCount() {
    return Math.max(1, this.rows === "lanes" ? this.model.lanes.length : this.flows.length);
  }

  height() {
    if (this.rows === "flows") return 320;
    return Math.max(130, Math.min(460, 60 + 34 * this.model.lanes.length));
  }

  makeTimeline(box) {
    const series = (name, side) => ({ stroke: () => colour(name), width: 1, points: { show: false }, paths: (u, index, from, to) => this.drawTalk(u, side, from, to) });
    const ended = { stroke: () => colour("ended"), fill: () => colour("ended"), width: 1, points: { show: false }, paths: (u, index, from, to) => this.drawEnds(u, from, to) };
    const spans = { stroke: () => colour("faint"), width: 1, points: { show: false }, paths: (u) => this.drawRows(u) };
    const options = chartOptions(this.width(box), this.height(), {
      scales: { x: { time: false }, y: { range: () => [-0.6, this.rowCount - 0.4], dir: -1 } },
      series: [{}, spans, series("to-server", 0), series("to-client", 1), ended],
      axes: axes({
        size: box.clientWidth < 600 ? 78 : 130,
        grid: { show: false },
        splits: () => this.rowSplits(),
        values: (u, splits) => splits.map((row) => this.rowName(row)),
      }),
      hooks: { draw: [(u) => this.drawDivergences(u)], setSelect: [(u) => this.select(u)], setCursor: [(u) => this.point(u)] },
    });
    return new uPlot(options, [[], [], [], [], []], box);
  }

  makeBytes(box) {
    const bars = uPlot.paths.stepped({ align: 1 });
    const series = (name) => ({ stroke: () => colour(name), fill: () => colour(`${name}-fill`), width: 1, paths: bars, points: { show: false } });
    const options = chartOptions(this.width(box), 130, {
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max(1, high * 1.05 || 1)] } },
      series: [{}, series("to-server"), series("to-client")],
      axes: axes({ size: box.clientWidth < 600 ? 78 : 130, incrs: POWERS_OF_TWO, values: (u, splits) => splits.map(size) }),
      hooks: { setSelect: [(u) => this.select(u)] },
    });
    return new uPlot(options, [[], [], []], box);
  }

  width(box) {
    return Math.max(200, box.clientWidth);
  }

  listen(chart) {
    chart.over.addEventListener("mousedown", () => {
      this.dragged = chart;
      this.wasDragged = false;
    });
    chart.over.addEventListener("dblclick", () => this.onRange(null));
    chart.over.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.7 : 1 / 0.7, chart.posToVal(event.offsetX, "x"));
    }, { passive: false });
    if (chart === this.timeline) chart.over.addEventListener("click", (event) => this.pick(event.offsetX, event.offsetY));
  }

  // What is to be seen

  show(events, flows, range) {
    this.events = events;
    this.flows = flows;
    this.range = range;
    this.rowOfFlow.fill(-1);
    flows.forEach((flow, row) => (this.rowOfFlow[flow] = row));
    this.redraw();
  }

  redraw() {
    const [min, max] = this.range || this.whole;
    const times = new Float64Array(this.events.length);
    for (let at = 0; at < times.length; at += 1) times[at] = this.model.seconds[this.events[at]];
    const flat = new Uint8Array(times.length);
    this.apply(this.timeline, [times, flat, flat, flat, flat], min, max);
    this.apply(this.bytes, this.binned(min, max), min, max);
  }

  apply(chart, data, min, max) {
    chart.batch(() => {
      chart.setData(data, false);
      chart.setScale("x", { min, max }); // also where it is as before: its paths are made anew
    });
  }

  resize() {
    const width = this.width(byId("bytes-chart"));
    if (width === this.bytes.width && this.height() === this.timeline.height) return;
    for (const [chart, box] of [[this.timeline, "timeline-chart"], [this.bytes, "bytes-chart"]]) {
      chart.setSize({ width: this.width(byId(box)), height: chart === this.timeline ? this.height() : 130 });
    }
    this.redraw();
  }

  setRows(rows) {
    this.rows = rows;
    this.timeline.setSize({ width: this.timeline.width, height: this.height() });
    this.redraw();
  }

  binned(min, max) {
    const bins = Math.max(10, Math.floor((this.bytes.bbox.width / devicePixelRatio || 600) / BIN_PIXELS));
    const width = (max - min) / bins;
    const sums = [new Float64Array(bins + 1), new Float64Array(bins + 1)];
    const times = Float64Array.from({ length: bins + 1 }, (_, bin) => min + bin * width);
    for (const event of this.events) {
      const bin = Math.floor((this.model.seconds[event] - min) / width);
      if (bin >= 0 && bin <= bins) sums[sideOf(this.model, event)][bin] += this.model.length[event];
    }
    byId("bytes-unit").textContent = `bytes in each ${duration(width)}`;
    return [times, ...sums];
  }

  // Paths of the timeline. What would fall on the same pixels is drawn once.

  drawTalk(u, side, from, to) {
    const stroke = new Path2D();
    const { model } = this;
    const byLane = this.rows === "lanes";
    const arrows = to - from < ARROWS_MOST && byLane;
    const drawn = new Int32Array(Math.max(model.pairs, u.bbox.top + u.bbox.height + 1)).fill(-1);
    const pixel = pixels(u);
    const ys = this.rowPixels(u);
    const tick = Math.max(1, Math.min(5, (u.bbox.height / this.rowCount) * 0.35));
    for (let at = from; at <= to; at += 1) {
      const event = this.events[at];
      if (sideOf(model, event) !== side || !isTalk(model, event)) continue;
      const flow = model.flow[event];
      const x = pixel(model.seconds[event]);
      const key = byLane ? model.pairOf[flow] : Math.round(ys[this.rowOfFlow[flow]]);
      if (drawn[key] === x) continue;
      drawn[key] = x;
      const { lanes } = model.flows[flow];
      const y0 = ys[byLane ? lanes[side] : this.rowOfFlow[flow]];
      const y1 = byLane ? ys[lanes[1 - side]] : y0;
      stroke.moveTo(x, y0 === y1 ? y0 - tick : y0);
      stroke.lineTo(x, y0 === y1 ? y1 + tick : y1);
      if (arrows && y0 !== y1) arrowHead(stroke, x, y1, y1 > y0 ? -1 : 1);
    }
    return { stroke, fill: null, clip: null, flags: 0 };
  }

  drawEnds(u, from, to) {
    const fill = new Path2D();
    const { model } = this;
    const byLane = this.rows === "lanes";
    const drawn = new Int32Array(this.rowCount).fill(-1);
    const pixel = pixels(u);
    const ys = this.rowPixels(u);
    for (let at = from; at <= to; at += 1) {
      const event = this.events[at];
      if (isTalk(model, event)) continue;
      const flow = model.flow[event];
      const row = byLane ? model.flows[flow].lanes[sideOf(model, event)] : this.rowOfFlow[flow];
      const x = pixel(model.seconds[event]);
      if (drawn[row] === x) continue;
      drawn[row] = x;
      fill.rect(x - 2, ys[row] - 2, 4, 4);
    }
    return { stroke: fill, fill, clip: null, flags: 0 };
  }

  rowPixels(u) {
    return Float64Array.from({ length: this.rowCount }, (_, row) => u.valToPos(row, "y", true));
  }

  // A line for each process, or for each connection while it was open.
  drawRows(u) {
    const stroke = new Path2D();
    const { left: least, width } = u.bbox;
    const pixel = pixels(u);
    const ys = this.rowPixels(u);
    for (let row = 0; row < this.rowCount; row += 1) {
      const flow = this.rows === "flows" ? this.model.flows[this.flows[row]] : null;
      if (flow === undefined) continue;
      const left = flow === null ? least : Math.max(least, pixel(flow.opened));
      const right = flow === null ? least + width : Math.min(least + width, pixel(flow.closed === null ? this.model.end : flow.closed));
      if (right < least || left > least + width) continue;
      const y = Math.round(ys[row]) + 0.5;
      stroke.moveTo(left, y);
      stroke.lineTo(Math.max(right, left + 1), y);
    }
    return { stroke, fill: null, clip: null, flags: 0 };
  }

  drawDivergences(u) {
    if (!this.model.divergences.length) return;
    u.ctx.save();
    u.ctx.fillStyle = colour("wrong");
    for (const each of this.model.divergences) {
      const x = u.valToPos(each.at, "x", true);
      if (x >= u.bbox.left && x <= u.bbox.left + u.bbox.width) u.ctx.fillRect(x - 1, u.bbox.top, 2, u.bbox.height);
    }
    u.ctx.restore();
  }

  rowSplits() {
    const step = this.rows === "lanes" ? Math.ceil(this.rowCount / 22) : Math.ceil(this.rowCount / 12);
    const rows = [];
    for (let row = 0; row < this.rowCount; row += step) rows.push(row);
    return rows;
  }

  rowName(row) {
    if (this.rows === "lanes") return shortened(this.model.lanes[row] || "", this.timeline && this.timeline.width < 600 ? 10 : LABEL_MOST);
    const flow = this.model.flows[this.flows[row]];
    return flow ? flow.name : "";
  }

  // What the user does

  select(u) {
    const { left, width } = u.select;
    if (width < 3 || u !== this.dragged) return; // the other chart follows the mouse, and tells the same again
    this.dragged = null;
    const range = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.wasDragged = u === this.timeline; // a click comes after it
    this.onRange(range);
  }

  zoom(factor, around) {
    const [min, max] = this.range || this.whole;
    const middle = around === undefined ? (min + max) / 2 : around;
    const range = [middle - (middle - min) * factor, middle + (max - middle) * factor];
    const [least, most] = this.whole;
    if (range[1] - range[0] < 1e-6) return;
    this.onRange(range[0] <= least && range[1] >= most ? null : [Math.max(least, range[0]), Math.min(most, range[1])]);
  }

  move(share) {
    if (this.range === null) return;
    const [min, max] = this.range;
    const [least, most] = this.whole;
    const step = Math.max(least - min, Math.min(most - max, (max - min) * share));
    this.onRange([min + step, max + step]);
  }

  nearest(x, y) {
    const u = this.timeline;
    const time = u.posToVal(x, "x");
    const reach = Math.abs(u.posToVal(x + 6, "x") - time);
    const row = u.posToVal(y, "y");
    let best = -1;
    let least = Infinity;
    for (let at = this.firstAfter(time - reach); at < this.events.length; at += 1) {
      const event = this.events[at];
      const away = Math.abs(this.model.seconds[event] - time) / reach;
      if (away > 1 && this.model.seconds[event] > time) break;
      const distance = away + 3 * this.rowsAway(event, row);
      if (distance < least) [best, least] = [event, distance];
    }
    return best;
  }

  rowsAway(event, row) {
    const flow = this.model.flow[event];
    const [one, other] = this.rows === "lanes" ? this.model.flows[flow].lanes : [this.rowOfFlow[flow], this.rowOfFlow[flow]];
    return Math.max(0, Math.min(one, other) - row, row - Math.max(one, other));
  }

  firstAfter(time) {
    let low = 0;
    let high = this.events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.model.seconds[this.events[middle]] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  pick(x, y) {
    if (this.wasDragged) {
      this.wasDragged = false;
      return;
    }
    const event = this.nearest(x, y);
    if (event >= 0) this.onPick(event);
  }

  point(u) {
    const { left, top } = u.cursor;
    if (left >= 0 && top >= 0) this.onPoint(this.nearest(left, top));
  }
}

// Where on the canvas a time is, as u.valToPos would say it a hundred thousand times.
function pixels(u) {
  const { min, max } = u.scales.x;
  const { left, width } = u.bbox;
  return (time) => Math.round(left + ((time - min) / (max - min)) * width);
}

function arrowHead(path, x, y, way) {
  path.moveTo(x - 3, y + 6 * way);
  path.lineTo(x, y);
  path.lineTo(x + 3, y + 6 * way);
}
