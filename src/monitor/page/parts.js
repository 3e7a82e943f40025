// What the page is made of: words, icons and charts. Texts from livefeed are only ever set as text.
"use strict";

const SECONDS = 120;

// ---- words ---------------------------------------------------------------------------------------------------

// Of a feed. The rank tells how much it matters: from 3 on it is trouble.
const FEED_STATES = {
  fresh: { word: "Fresh", tone: "good", rank: 0, icon: "check" },
  quiet: { word: "Quiet", tone: "calm", rank: 1, icon: "moon" },
  live: { word: "Live", tone: "open", rank: 2, icon: "dot" },
  held_up: { word: "Held up", tone: "wait", rank: 3, icon: "warning" },
  closing: { word: "Closing", tone: "wait", rank: 3, icon: "stop" },
  connecting: { word: "Connecting", tone: "wait", rank: 4, icon: "dots" },
  waiting: { word: "Waiting", tone: "wait", rank: 5, icon: "clock" },
  stale: { word: "Stale", tone: "bad", rank: 6, icon: "warning" },
  closed: { word: "Closed", tone: "over", rank: 7, icon: "cross" },
};

// Of a subscription.
const STATES = {
  live: { word: "live", tone: "good", rank: 0, icon: "check" },
  quiet: { word: "quiet", tone: "calm", rank: 0, icon: "moon" },
  desired: { word: "desired", tone: "none", rank: 1, icon: "dots" },
  queued: { word: "queued", tone: "open", rank: 1, icon: "dots" },
  sent: { word: "sent", tone: "open", rank: 1, icon: "dots" },
  confirmed: { word: "confirmed", tone: "open", rank: 1, icon: "dot" },
  ended: { word: "ended", tone: "bad", rank: 3, icon: "stop" },
  quarantined: { word: "quarantined", tone: "bad", rank: 3, icon: "cross" },
  refused: { word: "refused", tone: "bad", rank: 3, icon: "cross" },
  stale: { word: "stale", tone: "bad", rank: 3, icon: "warning" },
};

const UNKNOWN = { word: "Unknown", tone: "none", rank: 8, icon: "question" };

const UNREACHABLE = { word: "No answer", tone: "over", rank: 9, icon: "cut" };

const TROUBLE = 3;

const CAUSES = { silent: "no data", late: "no timely data", frozen: "no new data" };

const SOURCES = {
  configured: "",
  hours: "by the hour",
  warming_up: "still learning",
  learned: "learned",
  floor: "learned, at its floor",
  ceiling: "learned, at its ceiling",
};

const ALERTS = {
  slow_consumer: "The application reads too slowly",
  needs_attention: "Needs attention",
  reconnects: "Too many reconnects",
  no_data: "No data for too long",
  down: "No connection for too long",
  limit_at_ceiling: "Learned limit at its ceiling",
  unmatched: "Messages that no rule knows",
  counters_forgotten: "Sequence counters forgotten",
  nothing_found: "What is looked for is not there",
  template_failed: "A message could not be made",
  callback_panicked: "A callback panicked",
  subscription_stale: "A subscription stays stale",
  subscribe_failed: "A subscription could not be made",
  subscription_refused: "A subscription was refused",
  quarantined: "A subscription is in quarantine",
  notice: "Notice of the server",
};

const TONES = { good: "good", plain: "none", bad: "bad" };

/** What a table says of a key; a key that it lacks comes from a newer livefeed, and is shown as it is. */
function lookUp(table, key, fallback) {
  return Object.hasOwn(table, key) ? table[key] : fallback;
}

function feedState(key) {
  return lookUp(FEED_STATES, key, { word: String(key), tone: "wait", rank: TROUBLE, icon: "question" });
}

function subscriptionState(key) {
  return lookUp(STATES, key, { word: String(key), tone: "none", rank: 1, icon: "question" });
}

/** A text of others within a sentence: what turns the direction of writing would turn the sentence. */
function within(text) {
  return text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
}

/** A number of seconds for people: the figure and its unit. */
function span(seconds) {
  if (seconds < 9.95) return [seconds < 0.995 ? seconds.toFixed(2) : seconds.toFixed(1), "s"];
  const whole = Math.round(seconds);
  if (whole < 120) return [String(whole), "s"];
  const two = (big, small, unit, rest) => [small ? `${big} ${unit} ${small}` : String(big), small ? rest : unit];
  if (whole < 7200) return two(Math.floor(whole / 60), whole % 60, "min", "s");
  const minutes = Math.floor(whole / 60);
  if (minutes < 2880) return two(Math.floor(minutes / 60), minutes % 60, "h", "min");
  return two(Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, "d", "h");
}

function time(seconds) {
  return span(seconds).join(" ");
}

/** The same without fractions. */
function wholeTime(seconds) {
  const whole = Math.round(seconds);
  return whole < 10 ? `${whole} s` : time(whole);
}

/** A limit for people: as it was written, not to a hundredth. */
function limitTime(seconds) {
  return seconds < 1 ? `${+seconds.toPrecision(3)} s` : time(+seconds.toPrecision(3)).replace(".0 s", " s");
}

function count(number) {
  return number.toLocaleString("en");
}

function many(number, one, more) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

function bytes(number) {
  if (number < 1024) return `${number} B`;
  return number < 1048576 ? `${(number / 1024).toFixed(1)} KiB` : `${(number / 1048576).toFixed(1)} MiB`;
}

function clock(date) {
  const two = (number) => String(number).padStart(2, "0");
  const day = date.toDateString() === new Date().toDateString()
    ? "" : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `;
  return `${day}${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

// ---- the document --------------------------------------------------------------------------------------------

/** Sets a text; what is the same stays untouched. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function stamp(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Puts the nodes of a list in this order, and takes out all others. Those that stand right are not touched. */
function arrange(parent, nodes) {
  let next = parent.firstElementChild;
  for (const node of nodes) {
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  while (next) {
    const last = next;
    next = next.nextElementSibling;
    last.remove();
  }
}

// ---- icons ---------------------------------------------------------------------------------------------------

const RING = "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18z";

const ICONS = {
  check: `${RING}M8 12.4l2.8 2.8l5.4-5.8`,
  moon: "M20 14.2A8.4 8.4 0 0 1 9.8 4A8.4 8.4 0 1 0 20 14.2z",
  dot: `${RING}M12 9.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 0 0 0-5z`,
  dots: `${RING}M8 12v.01M12 12v.01M16 12v.01`,
  clock: `${RING}M12 7.2v5l3.2 1.9`,
  warning: "M12 3.6L2.4 20.2h19.2zM12 9.6v5M12 17.3v.01",
  stop: `${RING}M9 9h6v6h-6z`,
  cross: "M8.2 3h7.6L21 8.2v7.6L15.8 21H8.2L3 15.8V8.2zM9 9l6 6M15 9l-6 6",
  question: `${RING}M9.4 9.6a2.7 2.7 0 1 1 3.9 2.5c-.9.4-1.3 1-1.3 1.8M12 16.8v.01`,
  cut: "M10 7H8a5 5 0 0 0 0 10h2M14 7h2a5 5 0 0 1 0 10h-2M4 3.5l16 17",
  down: "M6 9.5l6 6l6-6",
};

const SVG = "http://www.w3.org/2000/svg";

function drawIcon(node, name) {
  if (node.dataset.icon === name) return;
  node.dataset.icon = name;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  node.replaceChildren(svg);
}

const BADGES = { good: "#14713f", calm: "#47588a", open: "#1b5cba", wait: "#a86a00", bad: "#c4281d", over: "#000000", none: "#667085" };

function favicon(state) {
  const path = ICONS[state.icon].replace(RING, "");
  return "data:image/svg+xml," + encodeURIComponent(
    `<svg xmlns="${SVG}" viewBox="0 0 24 24"><rect width="24" height="24" rx="6" fill="${BADGES[state.tone]}"/>`
    + `<path d="${path}" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"/></svg>`);
}

// ---- charts --------------------------------------------------------------------------------------------------

const HEIGHT = 40;

/** The next round number that is not less. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.999999);
  return +(step * power).toPrecision(3);
}

function roundUpCount(value) {
  return Math.ceil(roundUp(value));
}

/** The same for times: of minutes and hours, their halves and multiples. */
function roundUpTime(value) {
  if (value <= 60) return roundUp(value);
  const unit = value <= 5400 ? 60 : value <= 129600 ? 3600 : 86400;
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 75, 90].find((step) => step * unit >= value);
  return step === undefined ? roundUp(value / unit) * unit : step * unit;
}

/** A time in as few letters as a scale has room for. */
function scaleTime(seconds) {
  const short = (unit, letters) => `${+(seconds / unit).toPrecision(3)} ${letters}`;
  if (seconds <= 60) return short(1, "s");
  if (seconds <= 5400) return short(60, "min");
  return seconds <= 129600 ? short(3600, "h") : short(86400, "d");
}

/** A chart of the last two minutes, a value for each second; null where there is none. */
class Chart {
  constructor(title, { stepped, show, round, scale }) {
    this.node = stamp("chart");
    this.part = (name) => this.node.querySelector(name);
    this.part(".title").textContent = title;
    this.title = title;
    this.stepped = stepped;
    this.show = show;
    this.round = round;
    this.scale = scale;
  }

  draw(values, { now, limit, silent }) {
    const known = values.filter((value) => value !== null);
    const most = Math.max(0, ...known);
    const top = this.round(Math.max(most, limit ?? 0) * 1.02);
    const left = SECONDS - values.length;
    const y = (value) => +(HEIGHT * (1 - Math.min(value, top) / top)).toFixed(2);
    let line = "";
    let area = "";
    let over = "";
    let before = null;
    values.forEach((value, index) => {
      if (value === null) {
        before = null;
        return;
      }
      const [from, to, at] = [left + index, left + index + 1, y(value)];
      if (this.stepped) {
        line += before === null ? `M${from} ${at}H${to}` : `V${at}H${to}`;
        area += `M${from} ${HEIGHT}V${at}H${to}V${HEIGHT}z`;
      } else {
        const start = before ?? at;
        line += before === null ? `M${from} ${at}L${to} ${at}` : `L${to} ${at}`;
        area += `M${from} ${HEIGHT}V${start}L${to} ${at}V${HEIGHT}z`;
        if (limit !== null && value > limit) over += `M${from} ${start}L${to} ${at}`;
      }
      before = at;
    });
    mark(this.part(".line"), "d", line);
    mark(this.part(".area"), "d", area);
    mark(this.part(".over"), "d", over);
    mark(this.part(".bound"), "d", limit === null ? "" : `M0 ${y(limit)}H${SECONDS}`);
    const bound = this.part(".mark");
    bound.hidden = limit === null;
    if (limit !== null) {
      write(bound, `limit ${this.show(limit)}`);
      const share = y(limit) / HEIGHT;
      bound.style.top = share < 0.5 ? `calc(${100 * share}% + 2px)` : "auto";
      bound.style.bottom = share < 0.5 ? "auto" : `calc(${100 * (1 - share)}% + 2px)`;
    }
    write(this.part(".now"), silent ? "" : now);
    write(this.part(".axis").lastElementChild, silent ? "last answer" : "now");
    write(this.part(".most"), this.scale(top));
    const bounded = limit === null ? "" : `, limit ${this.show(limit)}`;
    mark(this.node, "aria-label", `${this.title}, last two minutes: ${now}, at most ${this.show(most)}${bounded}`);
  }
}
