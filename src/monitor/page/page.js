// The page for people: asks livefeed each second, and shows what it says, or that it says nothing.
"use strict";

const EACH = 1000; // milliseconds between two questions
const PATIENCE = 4000; // for one answer
const SILENCE = 3000; // without an answer before that is said
const FEW_FEEDS = 6; // so many cards are open from the start
const FEW_ROWS = 12; // so many subscriptions are shown without being asked for
const MOST_TROUBLED = 40; // of those in trouble
const MOST_ROWS = 1000; // if asked for
const FEW_EVENTS = 6;

const SEEN = ["live", "fresh", "quiet"]; // states that need somebody who looks

const byId = (id) => document.getElementById(id);

// ---- a feed ----------------------------------------------------------------------------------------------------

class Card {
  constructor(name) {
    this.name = name;
    this.node = stamp("card");
    this.node.dataset.feed = name;
    this.node.setAttribute("aria-label", name);
    this.rows = new Map();
    this.opened = null; // what the user chose
    this.allRows = false;
    this.allEvents = false;
    this.part(".name").textContent = name;
    this.rate = new Chart("Data per second", { stepped: true, show: count, round: roundUpCount, scale: count });
    this.age = new Chart("Age of the data", { stepped: false, show: limitTime, round: roundUpTime, scale: scaleTime });
    this.part(".charts").append(this.rate.node, this.age.node);
    drawIcon(this.part(".fold"), "down");
    this.part(".fold").addEventListener("click", () => {
      this.opened = this.node.classList.contains("folded");
      draw();
    });
    this.part(".subscriptions .more").addEventListener("click", () => {
      this.allRows = !this.allRows;
      draw();
    });
    this.part(".events .more").addEventListener("click", () => {
      this.allEvents = !this.allEvents;
      draw();
    });
    this.part(".filter").addEventListener("input", () => draw());
  }

  part(selector) {
    return this.node.querySelector(selector);
  }

  /** Shows the feed; `silent`: nobody answers, and `feed` is how it was. */
  show(feed, { silent, foldable }) {
    const { health } = feed;
    const was = feedState(health.state);
    const state = silent ? UNKNOWN : was;
    const troubled = was.rank >= TROUBLE || health.alerts.length > 0;
    const open = this.opened ?? (!foldable || (troubled && !silent));
    this.node.classList.toggle("folded", !open);
    mark(this.node, "data-state", silent ? "unknown" : health.state);
    mark(this.node, "data-tone", state.tone);
    const fold = this.part(".fold");
    fold.hidden = !foldable;
    mark(fold, "aria-expanded", String(open));
    mark(fold, "aria-label", `Details of ${this.name}`);
    drawIcon(this.part(".head .state .icon"), state.icon);
    write(this.part(".head .word"), state.word);
    write(this.part(".why"), silent ? `It was ${was.word.toLowerCase()} when livefeed last answered.` : why(health));
    this.showAge(health, silent);
    this.showAlerts(health.alerts);
    if (!open) return;
    this.showCharts(feed, silent);
    this.showFacts(health);
    this.showSubscriptions(health);
    this.showEvents(feed.recent);
  }

  showAge(health, silent) {
    const age = health.last_signal_age_seconds;
    const [figure, unit] = silent ? ["?", ""] : age === null ? ["–", ""] : span(age);
    write(this.part(".head .age strong"), figure);
    write(this.part(".head .age .unit"), unit);
    this.part(".head .age").classList.toggle("late", !silent && isOver(health));
    const said = age === null ? "no data yet" : silent ? `the last data was ${time(age)} old then` : "since the last data";
    write(this.part(".head .limit"), silent ? said : `${said} · ${limitText(health).join(", ")}`);
  }

  showAlerts(alerts) {
    const list = this.part(".alerts");
    list.hidden = alerts.length === 0;
    const texts = alerts.map((kind) => lookUp(ALERTS, kind, String(kind)));
    if (list.dataset.texts === texts.join("\n")) return;
    list.dataset.texts = texts.join("\n");
    list.replaceChildren(...texts.map((text) => {
      const item = make("li");
      const icon = make("span", "icon");
      drawIcon(icon, "warning");
      item.append(icon, text);
      return item;
    }));
  }

  showCharts({ health, messages, ages }, silent) {
    const last = messages.length === 0 ? 0 : messages[messages.length - 1];
    this.rate.draw(messages, { now: `${many(last, "message", "messages")} in the last second`, limit: null, silent });
    const age = health.last_signal_age_seconds;
    const limit = health.stale_after_seconds;
    this.age.draw(ages, { now: age === null ? "no data yet" : `${time(age)} now`, limit, silent });
  }

  showFacts(health) {
    const list = this.part(".facts");
    const wanted = facts(health);
    wanted.forEach(([name, value, wide], index) => {
      let pair = list.children[index];
      if (!pair) {
        pair = make("div");
        pair.append(make("dt"), make("dd"));
        list.append(pair);
      }
      pair.classList.toggle("wide", wide === true);
      write(pair.firstElementChild, name);
      write(pair.lastElementChild, value);
    });
    while (list.children.length > wanted.length) list.lastElementChild.remove();
  }

  showSubscriptions(health) {
    const { subscriptions } = health;
    this.part(".subscriptions").hidden = subscriptions.length === 0;
    const all = subscriptions.map((subscription) => ({ subscription, state: shownState(subscription, health) }));
    this.showCounts(all);
    const filter = this.part(".filter");
    filter.hidden = subscriptions.length <= FEW_ROWS;
    const word = filter.hidden ? "" : filter.value.trim().toLowerCase();
    const found = all.filter(({ subscription }) => subscription.id.toLowerCase().includes(word));
    const rank = ({ state }) => subscriptionState(state).rank;
    found.sort((a, b) => rank(b) - rank(a)); // trouble first; otherwise as they were made
    const troubled = found.filter((entry) => rank(entry) >= TROUBLE).length;
    const few = Math.max(FEW_ROWS, Math.min(troubled, MOST_TROUBLED));
    const shown = found.slice(0, this.allRows || word ? MOST_ROWS : few);
    const more = this.part(".subscriptions .more");
    more.hidden = word !== "" || found.length <= few;
    mark(more, "aria-expanded", String(this.allRows));
    write(more, this.allRows ? "Show fewer" : `Show ${found.length > MOST_ROWS ? count(MOST_ROWS) + " of" : "all"} ${count(found.length)}`);
    const nodes = shown.map(({ subscription, state }) => this.row(subscription, state));
    arrange(this.part(".rows"), nodes);
    if (this.rows.size > 2 * nodes.length + 100) {
      const kept = new Set(nodes);
      this.rows.forEach((node, id) => kept.has(node) || this.rows.delete(id));
    }
  }

  showCounts(all) {
    const counts = new Map();
    for (const { state } of all) counts.set(state, (counts.get(state) ?? 0) + 1);
    const ordered = [...counts].sort(([a], [b]) => subscriptionState(b).rank - subscriptionState(a).rank);
    const text = JSON.stringify(ordered);
    const list = this.part(".counts");
    if (list.dataset.text === text) return;
    list.dataset.text = text;
    list.replaceChildren(...ordered.map(([key, number]) => {
      const state = subscriptionState(key);
      const item = make("span", "", `${count(number)} ${state.word}`);
      item.dataset.tone = state.tone;
      return item;
    }));
  }

  row(subscription, key) {
    let node = this.rows.get(subscription.id);
    if (!node) {
      node = stamp("row");
      node.querySelector(".id").textContent = subscription.id;
      this.rows.set(subscription.id, node);
    }
    const state = subscriptionState(key);
    mark(node, "data-tone", state.tone);
    mark(node, "data-state", key);
    const [, stateCell, ageCell, limitCell, messagesCell] = node.children;
    drawIcon(stateCell.firstElementChild, state.icon);
    const [word, cause] = stateCell.lastElementChild.children;
    write(word, state.word);
    const why = subscription.stale_cause === null ? [] : [lookUp(CAUSES, subscription.stale_cause, subscription.stale_cause)];
    if (key !== subscription.state) why.push(`now ${subscriptionState(subscription.state).word}`);
    write(cause, why.join(", "));
    const age = subscription.last_signal_age_seconds;
    const limit = subscription.stale_after_seconds;
    const lag = subscription.lag_seconds ?? null;
    write(ageCell, age === null ? "–" : time(age));
    ageCell.classList.toggle("late", isOver(subscription));
    const [text, source] = limitText(subscription, false);
    const rest = [source, lag === null ? "" : `lag ${time(Math.max(0, lag))}`].filter(Boolean).join(", ");
    if (limitCell.dataset.text !== `${text} ${rest}`) {
      limitCell.dataset.text = `${text} ${rest}`;
      limitCell.replaceChildren(text, ...(rest ? [make("small", "", rest)] : []));
    }
    write(messagesCell, count(subscription.messages));
    return node;
  }

  showEvents(notes) {
    const list = this.part(".events ol");
    const text = JSON.stringify([this.allEvents, notes]);
    const more = this.part(".events .more");
    more.hidden = notes.length <= FEW_EVENTS;
    mark(more, "aria-expanded", String(this.allEvents));
    write(more, this.allEvents ? "Show fewer" : `Show all ${notes.length}`);
    if (list.dataset.text === text) return;
    list.dataset.text = text;
    const shown = this.allEvents ? notes : notes.slice(0, FEW_EVENTS);
    list.replaceChildren(...shown.map((note) => {
      const item = make("li");
      item.dataset.tone = lookUp(TONES, note.weight, "none");
      const when = make("time", "", clock(new Date(note.time)));
      when.dateTime = note.time;
      const what = make("span", "text");
      what.append(make("bdi", "", note.text));
      if (note.times > 1) what.append(" ", make("small", "", `and ${count(note.times - 1)} before`));
      item.append(when, make("span", "what", note.name), what);
      return item;
    }));
    if (notes.length === 0) list.append(make("li", "none", "None yet."));
  }
}

/** Whether the data is older than its limit. */
function isOver({ last_signal_age_seconds: age, stale_after_seconds: limit }) {
  return age !== null && limit !== null && age > limit;
}

/** The state as it is shown: one that is stale and was made again has another one meanwhile, and is stale all the same. */
function shownState(subscription, health) {
  const { state } = subscription;
  if (subscription.stale_cause !== null) return "stale";
  const again = ["queued", "sent", "confirmed"].includes(state);
  return health.state === "stale" && again && isOver(subscription) ? "stale" : state;
}

/** A limit and where it comes from; without `named` it stands under a title. */
function limitText({ stale_after_seconds: limit, limit_source: key, learned_gap_seconds: gap }, named = true) {
  let source = lookUp(SOURCES, key, String(key));
  if (gap !== null && gap !== undefined) source += `, gap ${time(gap)}`;
  const text = limit === null ? (named ? "no limit" : "none") : (named ? "limit " : "") + limitTime(limit);
  return source ? [text, source] : [text];
}

/** Why a feed is in its state, in a sentence. */
function why(health) {
  const last = health.last_end === null ? "" : ` The last one: ${within(health.last_end)}.`;
  const inState = (...states) => health.subscriptions.filter(({ state }) => states.includes(state));
  switch (health.state) {
    case "fresh":
      return "Data comes within its limits.";
    case "quiet":
      return "No data, as it should be in these hours.";
    case "live": {
      const off = inState("refused", "ended", "quarantined");
      if (off.length > 0) return `${naming(off)} not to be had.`;
      if (health.last_data_age_seconds === null) return "Connected; there was no data yet.";
      const waiting = inState("desired", "queued", "sent", "confirmed").length;
      if (waiting === 0) return "Connected; the data that comes is late, or says the same, as before.";
      return `Connected; ${many(waiting, "subscription has", "subscriptions have")} had no data yet.`;
    }
    case "held_up":
      return `The application has kept livefeed from reading for ${time(health.held_up_seconds)}: nothing is known of its data.`;
    case "connecting":
      return `Attempt ${count(health.attempt)}.${last}`;
    case "waiting":
      return `The next attempt is in ${time(health.next_attempt_in_seconds ?? 0)}.${last}`;
    case "stale": {
      const stale = health.subscriptions.filter((subscription) => shownState(subscription, health) === "stale");
      const cause = health.stale_cause ?? stale[0]?.stale_cause ?? "silent";
      const lack = lookUp(CAUSES, cause, cause);
      const ages = stale.map((subscription) => subscription.last_signal_age_seconds).filter((age) => age !== null);
      const longest = cause !== "silent" || ages.length === 0 ? "" : ` for ${stale.length > 1 ? "up to " : ""}${time(Math.max(...ages))}`;
      const of = stale.length > 0 ? ` of ${stale.length > 1 ? many(stale.length, "", "subscriptions") : within(stale[0].id)}` : "";
      return `${lack[0].toUpperCase()}${lack.slice(1)}${of}${longest}. The repair is under way.`;
    }
    case "closing":
      return "It is being closed.";
    case "closed":
      return `It is over: ${within(health.closed ?? "closed")}. No data will come.`;
    default:
      return "";
  }
}

function naming(subscriptions) {
  if (subscriptions.length === 1) return `${within(subscriptions[0].id)} is`;
  return `${count(subscriptions.length)} subscriptions are`;
}

/** The figures of a feed: those that matter always, others when there is something to say. */
function facts(health) {
  const up = health.up_seconds;
  const list = [
    ["Connection", up === null ? "none" : `up ${time(up)}`],
    ["Connections so far", count(health.connections)],
    ["Messages", count(health.messages)],
    ["Received", bytes(health.bytes)],
    ["Stale verdicts", count(health.stale_verdicts)],
    ["Gaps", health.sequence_gaps > 0 ? `${count(health.gaps)}, ${count(health.sequence_gaps)} in the sequence` : count(health.gaps)],
    ["Last byte", health.last_byte_age_seconds === null ? "–" : `${time(health.last_byte_age_seconds)} ago`],
  ];
  const rest = [
    ["Unmatched", health.unmatched],
    ["Refused", health.refused],
    ["Ended", health.ended],
    ["Dropped", health.dropped],
    ["In the queue", health.queue_messages],
  ];
  for (const [name, number] of rest) if (number > 0) list.push([name, count(number)]);
  if (health.outbox_bytes > 0) list.push(["To be sent", bytes(health.outbox_bytes)]);
  const ends = Object.entries(health.ends).map(([reason, number]) => `${reason} ${count(number)}`);
  if (ends.length > 0) list.push(["Ends", ends.join(", "), true]);
  if (health.last_end !== null) list.push(["Last end", health.last_end, true]);
  return list;
}

// ---- the whole -------------------------------------------------------------------------------------------------

const cards = new Map();
const before = new Map(); // the states that were announced last
let answer = null; // the last one
let answeredAt = null; // by both clocks
let failure = "";
let onlyTrouble = false;

const readClocks = () => ({ wall: Date.now(), mono: performance.now() });

/** How long ago the last answer came. A computer that slept shows on the wall clock alone. */
function unheard() {
  const now = readClocks();
  const since = answeredAt ?? started;
  return Math.max(now.wall - since.wall, now.mono - since.mono);
}

const started = readClocks();

function draw() {
  const silent = unheard() > SILENCE;
  drawSilence(silent);
  if (answer === null) return;
  try {
    drawFeeds(answer.feeds, silent);
  } catch (error) {
    // What can't be shown must not look as if it were shown.
    failure = `Its answer can't be shown (${error}); reload the page.`;
    drawSilence(true);
  }
}

function drawSilence(silent) {
  document.body.classList.toggle("silent", silent);
  const box = byId("silence");
  if (silent) {
    drawIcon(box.querySelector(".icon"), UNREACHABLE.icon);
    const known = answer === null ? "" : " What stands below is how it was then.";
    write(box.querySelector("strong"), `No answer from livefeed for ${wholeTime(unheard() / 1000)}`);
    write(box.querySelector("p > span"), `${failure}${known}`.trim());
    showSummary(UNREACHABLE, "No answer", "No answer from livefeed");
  }
  box.hidden = !silent;
}

function drawFeeds(feeds, silent) {
  const foldable = feeds.length > FEW_FEEDS;
  const isTroubled = ({ health }) => feedState(health.state).rank >= TROUBLE || health.alerts.length > 0;
  const troubled = feeds.filter(isTroubled);
  const only = byId("only");
  only.hidden = !foldable;
  mark(only, "aria-pressed", String(onlyTrouble));
  write(only, `Only trouble (${count(troubled.length)})`);
  const shown = foldable && onlyTrouble ? troubled : feeds;
  const names = new Set(feeds.map(({ health }) => health.name));
  for (const name of cards.keys()) if (!names.has(name)) cards.delete(name);
  const [first, rest] = [[], []];
  for (const feed of shown) {
    const { name } = feed.health;
    if (!cards.has(name)) cards.set(name, new Card(name));
    const card = cards.get(name);
    card.show(feed, { silent, foldable });
    (foldable && !isTroubled(feed) ? rest : first).push(card.node);
  }
  arrange(byId("feeds"), first);
  arrange(byId("rest"), rest);
  const start = byId("start");
  start.hidden = shown.length > 0;
  write(start, feeds.length === 0 ? "livefeed runs, and no feed was added to its monitor." : "No feed is in trouble.");
  if (!silent) summarize(feeds, troubled);
}

/** The worst of all feeds, in a few words. */
function summarize(feeds, troubled) {
  if (feeds.length === 0) {
    showSummary(lookUp(FEED_STATES, "closed"), "No feeds", "No feeds");
    return;
  }
  const worst = feeds.map(({ health }) => [feedState(health.state), health]).reduce((a, b) => (b[0].rank > a[0].rank ? b : a));
  let [state] = worst;
  const [, health] = worst;
  const alerts = feeds.reduce((sum, feed) => sum + feed.health.alerts.length, 0);
  let text;
  if (feeds.length === 1) text = `${within(health.name)}: ${state.word.toLowerCase()}`;
  else if (state.rank === 0) text = `All ${feeds.length} feeds are fresh`;
  else if (troubled.length === 0) text = `All ${feeds.length} feeds are well`;
  else text = `${troubled.length} of ${feeds.length} feeds in trouble`;
  if (alerts > 0) {
    text += `, ${many(alerts, "alert", "alerts")}`;
    if (state.rank < TROUBLE) state = { ...state, tone: "bad", icon: "warning" };
  }
  const first = state.rank >= TROUBLE && feeds.length > 1 ? `${state.word}: ${within(health.name)}` : text;
  showSummary(state, text, first);
}

function showSummary(state, text, title) {
  mark(document.body, "data-tone", state.tone);
  drawIcon(byId("summary").querySelector(".icon"), state.icon);
  write(byId("summary").querySelector(".text"), text);
  const full = `${title} – livefeed`;
  if (document.title !== full) document.title = full;
  mark(byId("favicon"), "href", favicon(state));
}

/** Tells those who can't see it of what has changed. */
function announce(feeds) {
  const changed = [];
  for (const { health } of feeds) {
    const { name, state } = health;
    if (before.has(name) && before.get(name) !== state) changed.push(`${within(name)} is ${feedState(state).word.toLowerCase()}`);
    before.set(name, state);
  }
  for (const name of before.keys()) if (!feeds.some(({ health }) => health.name === name)) before.delete(name);
  if (changed.length > 0) {
    write(byId("said"), changed.length > 3 ? `${changed.length} feeds have changed` : changed.join(", "));
  }
}

// ---- asking ----------------------------------------------------------------------------------------------------

let asking = false;

async function ask() {
  if (asking) return;
  asking = true;
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE);
  try {
    const response = await fetch("data", { cache: "no-store", signal: patience.signal });
    if (!response.ok) throw new Error(`it answered with status ${response.status}`);
    const parsed = await response.json();
    if (!Array.isArray(parsed?.feeds)) throw new Error("its answer is not what this page knows");
    for (const { health, held_up: heldUp } of parsed.feeds) if (heldUp && SEEN.includes(health.state)) health.state = "held_up";
    answer = parsed;
    answeredAt = readClocks();
    failure = "";
    announce(answer.feeds);
    write(byId("updated"), `as of ${clock(new Date())} · livefeed ${answer.version}`);
  } catch (error) {
    if (patience.signal.aborted) failure = "It does not answer in time.";
    else if (error instanceof TypeError) failure = "It can't be reached.";
    else failure = `Something is wrong: ${error.message}.`;
  } finally {
    clearTimeout(timer);
    asking = false;
  }
  draw();
}

byId("only").addEventListener("click", () => {
  onlyTrouble = !onlyTrouble;
  draw();
});

// A page that comes back to the front, or out of a cache, must not show what is old as if it were not.
for (const event of ["visibilitychange", "pageshow", "online", "offline"]) {
  (event === "visibilitychange" ? document : window).addEventListener(event, () => {
    draw();
    ask();
  });
}

// Drawn also without an answer: the silence grows.
setInterval(() => {
  if (unheard() > SILENCE) draw();
  ask();
}, EACH);
ask();
