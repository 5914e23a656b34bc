// The page as a whole: what is chosen, and who is told of it.

const model = readModel();
const state = { text: "", lane: -1, which: "all", range: null };
let view = null;

const charts = new Charts(model, { onRange: setRange, onPick: pickEvent, onPoint: pointAt });
const flowList = new List(byId("flows"), 28, (at) => flowRow(model, model.flows[view.flows[at]]), (at) => conversation.open(view.flows[at]));
const sequence = new List(byId("sequence"), 28, (at) => eventRow(model, view.events[at]), (at) => conversation.open(model.flow[view.events[at]], view.events[at]));
const conversation = new Conversation(model);

function refresh() {
  performance.mark("filter-begin");
  const open = conversation.flow;
  view = applyFilter(model, state);
  charts.show(view.events, view.flows, state.range);
  flowList.show(view.flows.length, view.flows.indexOf(open));
  sequence.show(view.events.length);
  showFound();
  const wanted = view.search ? view.search.words : "";
  if (conversation.wanted !== wanted) {
    conversation.wanted = wanted;
    conversation.list.render();
  }
  performance.measure("filter", "filter-begin");
}

function showFound() {
  const of = (part, whole, ...words) => (part === whole ? counted(whole, ...words) : `${part.toLocaleString("en")} of ${counted(whole, ...words)}`);
  byId("found").textContent = `${of(view.flows.length, model.flows.length, "conversation")}, ${of(view.events.length, model.count, "event")}`;
  byId("whole").disabled = state.range === null;
}

function setRange(range) {
  state.range = range;
  refresh();
}

function pickEvent(event) {
  const flow = model.flow[event];
  conversation.open(flow, event);
  flowList.mark(view.flows.indexOf(flow));
  sequence.mark(firstNotBefore(view.events, event), "center");
}

function firstNotBefore(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low < sorted.length && sorted[low] === value ? low : -1;
}

function pointAt(event) {
  const hint = byId("timeline-hint");
  if (event < 0) {
    hint.textContent = "Drag to zoom, click to look at what was said there.";
    return;
  }
  const flow = model.flows[model.flow[event]];
  const side = sideOf(model, event);
  const what = isTalk(model, event) ? counted(model.length[event], "byte") : KIND_WORDS[model.kinds[kindOf(model, event)]];
  hint.textContent = `${seconds(model.seconds[event])} s  ${flow.places[side]} → ${flow.places[1 - side]}  ${what}  (${flow.name})`;
}

// Head, replay, processes

function showHead() {
  const { meta } = model;
  const name = visible(meta.name);
  document.title = name;
  byId("name").textContent = name;
  const connections = model.flows.filter((flow) => flow.protocol === "TCP").length;
  const datagrams = model.flows.reduce((sum, { protocol, chunks }) => sum + (protocol === "TCP" ? 0 : chunks[0] + chunks[1]), 0);
  const bytes = [0, 1].map((side) => model.flows.reduce((sum, flow) => sum + flow.bytes[side], 0));
  byId("summary").textContent = visible(`${meta.state}, recorded ${meta.started} by plg ${meta.version}: ${counted(meta.processes.length, "process", "processes")}, ${counted(connections, "connection")}, ${datagrams ? counted(datagrams, "datagram") + ", " : ""}${counted(bytes[0], "byte")} to servers, ${counted(bytes[1], "byte")} to clients, ${duration(model.end)}`);
  const warnings = [
    ...(meta.missing ? [`The recording is torn. Missing: ${meta.missing}.`] : []),
    ...(meta.ambiguous ? [`Ambiguous: ${meta.ambiguous}.`] : []),
    ...(model.redacted.size ? ["Some of what was said has been redacted: an x stands for each byte of it."] : []),
    ...(meta.left_out.length ? [`Not all of the recording is in this page. Left out: ${meta.left_out.join(" ")}`] : []),
  ];
  byId("warnings").append(...warnings.map((text) => make("li", "", visible(text))));
  byId("warnings").hidden = !warnings.length;
}

function showReplays() {
  const { replays } = model.meta;
  byId("replay").append(...replays.map(replayPanel));
}

function replayPanel(replay) {
  const who = replay.alone === undefined ? "The replay" : `The replay of ${visible(replay.alone)} alone`;
  if (replay.connections === undefined) return make("div", "panel wrong", make("h2", "", `${who} could not be done (status ${replay.status})`));
  const box = make("div", `panel ${replay.divergence_count ? "wrong" : "right"}`);
  const share = (part, whole) => `${whole ? Math.floor((1000 * part) / whole) / 10 : 100} %`;
  const verdict = replay.divergence_count ? `${who} diverged in ${counted(replay.divergence_count, "place")}` : `${who} was as recorded`;
  box.append(
    make("h2", "", verdict),
    make("p", "", `${share(replay.connections_matched, replay.connections)} of ${counted(replay.connections, "connection")} and ${share(replay.bytes_matched, replay.bytes)} of ${counted(replay.bytes, "byte")}${replay.datagrams ? `, ${share(replay.datagrams_matched, replay.datagrams)} of ${counted(replay.datagrams, "datagram")}` : ""} as recorded; ${replay.reordered} reordered, ${replay.rematched} rematched, ${counted(replay.masked_bytes, "byte")} masked${replay.reason && replay.reason !== "diverged" ? `. ${visible(replay.reason)}` : ""}`),
  );
  const notes = Object.entries(replay.notes).map(([what, count]) => `${what}: ${count}`);
  for (const text of [...replay.warnings, ...notes]) box.append(make("p", "hint", visible(text)));
  const list = make("ol", "divergences");
  replay.divergences.forEach((each) => list.append(make("li", "", ...divergenceItem(each))));
  box.append(list);
  if (replay.divergences.length < replay.divergence_count) box.append(make("p", "hint", `The first ${replay.divergences.length} are shown.`));
  return box;
}

function divergenceItem(each) {
  const words = visible(`${each.process}, ${each.record === null ? "" : `connection ${each.record} `}${each.connection}, byte ${each.offset.toLocaleString("en")}: ${each.text}`);
  if (each.flow !== undefined) {
    const button = make("button", "link", words);
    button.type = "button";
    button.addEventListener("click", () => {
      flowList.mark(view.flows.indexOf(each.flow));
      conversation.openDivergence(each);
      byId("talk").closest(".panel").scrollIntoView({ block: "nearest" });
    });
    return [button];
  }
  const compared = comparison(each, innerWidth / 8).map((line) => make("div", "line mono wrong", ...(line.compared ? line.compared() : [line.text])));
  return [words, make("div", "scroll", ...compared)];
}

function showProcesses() {
  const row = (tag, cells) => make("tr", "", ...cells.map((text) => make(tag, "", text)));
  byId("processes").append(
    make("thead", "", row("th", ["process", "addresses", "ended", "command"])),
    make("tbody", "", ...model.meta.processes.map((each) => row("td", [each.name, each.addresses.join(" "), each.ended, each.command].map(visible)))),
  );
}

function showHeads() {
  const cells = (box, words) => byId(box).append(...words.map(([className, text]) => make("span", className, text)));
  cells("flows-head", [["name", "no."], ["when", "opened, s"], ["who", "client → server"], ["number", "bytes →"], ["number", "← bytes"], ["ending", "ended"]]);
  const lanes = make("span", model.lanes.length <= LIFELINES_MOST ? "lifelines" : "who");
  if (model.lanes.length <= LIFELINES_MOST) {
    model.lanes.forEach((name, lane) => {
      const label = make("span", "lane-name", name);
      label.title = name;
      label.style.left = `${(lane / model.lanes.length) * 100}%`;
      label.style.width = `${100 / model.lanes.length}%`;
      lanes.append(label);
    });
  } else lanes.append("from → to");
  byId("sequence-head").append(make("span", "when", "time, s"), lanes, make("span", "name", "no."), make("span", "what", "what"));
}

// What the user does

function showTab(name) {
  for (const each of ["flows", "sequence"]) {
    const tab = byId(`tab-${each}`);
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    byId(each).hidden = byId(`${each}-head`).hidden = each !== name;
  }
  (name === "flows" ? flowList : sequence).unhide();
}

function listen() {
  const search = byId("search");
  search.addEventListener("input", () => {
    state.text = search.value;
    refresh();
  });
  byId("process").append(new Option("all", "-1"), ...model.lanes.map((name, lane) => new Option(name, String(lane))));
  byId("process").addEventListener("change", (event) => {
    state.lane = Number(event.target.value);
    refresh();
  });
  const choices = Object.entries(SHOWN).filter(([name]) => name !== "diverged" || model.meta.replays.length);
  byId("which").append(...choices.map(([name, [words]]) => new Option(words, name)));
  byId("which").addEventListener("change", (event) => {
    state.which = event.target.value;
    refresh();
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", clear);
  byId("rows").addEventListener("change", (event) => charts.setRows(event.target.value));
  const zooms = { earlier: () => charts.move(-0.5), later: () => charts.move(0.5), "zoom-in": () => charts.zoom(0.5), "zoom-out": () => charts.zoom(2), whole: () => setRange(null) };
  for (const [id, act] of Object.entries(zooms)) byId(id).addEventListener("click", act);
  const keys = { "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", ArrowLeft: "earlier", ArrowRight: "later", 0: "whole" };
  byId("timeline-chart").addEventListener("keydown", (event) => {
    if (keys[event.key] === undefined || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    zooms[keys[event.key]]();
  });
  for (const [name, other] of [["flows", "sequence"], ["sequence", "flows"]]) {
    byId(`tab-${name}`).addEventListener("click", () => showTab(name));
    byId(`tab-${name}`).addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      showTab(other);
      byId(`tab-${other}`).focus();
    });
  }
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || /^(INPUT|SELECT)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    search.focus();
  });
}

function clear() {
  Object.assign(state, { text: "", lane: -1, which: "all", range: null });
  byId("search").value = "";
  byId("process").value = "-1";
  byId("which").value = "all";
  refresh();
}

showHead();
showReplays();
showProcesses();
showHeads();
listen();
conversation.close();
refresh();
addEventListener("DOMContentLoaded", begin);
globalThis.plg = { model, state, charts, conversation, decode, visible, refresh, view: () => view };

// All of the document has been read, the payload too.
function begin() {
  const wrong = model.divergences.find((each) => each.flow !== undefined);
  if (wrong) {
    flowList.mark(view.flows.indexOf(wrong.flow));
    conversation.open(wrong.flow, wrong.event);
    conversation.list.scrollTo(wrong.line, "center");
  } else if (view.flows.length) flowList.select(0);
  if (state.text) refresh();
  // Unpacked once the page stands, so that the first search need not.
  setTimeout(() => loweredPayload(model), 200);
}
