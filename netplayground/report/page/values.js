// Values as people read them, bytes as text, and elements. Whatever comes from the recording reaches the page
// through `visible` and as text, never as markup.

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

// What has no shape of its own, or power over its neighbours, gets a shape. Hex tells which control it is.
function visible(text) {
  return text.replace(HIDDEN, (c) => {
    const code = c.codePointAt(0);
    return code < 0xa0 ? "·" : `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

function shortened(text, width) {
  return text.length <= width ? text : text.slice(0, width - 1) + "…";
}

function counted(number, singular, plural = singular + "s") {
  return `${number.toLocaleString("en")} ${number === 1 ? singular : plural}`;
}

function seconds(value) {
  return value.toFixed(6);
}

function duration(value) {
  if (value < 0.00001) return `${Number((value * 1e6).toPrecision(2))} µs`;
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  return value < 1 ? `${(value * 1e3).toFixed(value < 0.01 ? 2 : 1)} ms` : `${value.toFixed(2)} s`;
}

const UNITS = ["", "K", "M", "G", "T"];
function size(bytes) {
  let unit = 0;
  while (bytes >= 10000 && unit < UNITS.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${bytes < 100 && unit ? bytes.toFixed(1) : Math.round(bytes)}${UNITS[unit]}`;
}

function bytesOfBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

function bytesOfHex(text) {
  return Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
}

function hexOf(bytes) {
  return Array.from(bytes, (octet) => octet.toString(16).padStart(2, "0")).join(" ");
}

function asciiOf(bytes) {
  return Array.from(bytes, (octet) => (octet >= 0x20 && octet < 0x7f ? String.fromCharCode(octet) : ".")).join("");
}

// One character a byte.
function latin(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

function utf8(bytes) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

const byId = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children); // strings become text
  return element;
}

const MARKS_MOST = 20; // in one line: a single letter may be all there is of it

// Text in which what was searched for is marked.
function marked(text, wanted) {
  if (!wanted) return [text];
  const pieces = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0 && pieces.length < 2 * MARKS_MOST && lower.length === text.length; at = lower.indexOf(wanted, from)) {
    pieces.push(text.slice(from, at), make("mark", "", text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  pieces.push(text.slice(from));
  return pieces;
}
