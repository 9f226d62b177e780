"use strict";
// Listens to the feed, keeps five minutes of it, and says how the server is. What was before the page was opened, or while
// it heard nothing, the server remembers.
//
// Always holds: values of a feed that is silent are marked as old, in words; what changes in state is said once to who does
// not see it. Never: a second stream at a time.

const span = 300;
const silentAfter = 3.5;

const seconds = () => performance.now() / 1000;

/** The curves' points. */
const history = {
  span,
  now: 0,
  all: Object.fromEntries(Object.keys(curves).map((name) => [name, []])),

  add(between) {
    this.now = seconds();
    for (const [name, points] of Object.entries(this.all)) {
      points.push([this.now, curves[name].now(between)]);
      while (points.length && this.now - points[0][0] > span + 2) points.shift();
    }
  },

  points(name) {
    return this.all[name];
  },

  /** Puts what the server remembers in the place of what was seen in that time. */
  recall({ ago_s, ...lists }) {
    const now = seconds();
    const oldest = now - Math.max(0, ...ago_s);
    for (const [name, points] of Object.entries(this.all)) {
      // Another process knows nothing of the time before it began.
      const own = points.filter(([time]) => time < oldest);
      this.all[name] = [...own, ...ago_s.map((ago, at) => [now - ago, lists[name][at]])];
    }
  },
};

const feed = {
  source: null,
  beat: null,
  heardAt: null,
  /** Why the feed was ended or refused, if it said so. */
  why: null,

  open() {
    this.source = new EventSource("live");
    this.source.onmessage = (event) => this.hear(JSON.parse(event.data));
    this.source.onopen = () => this.recall();
    this.source.addEventListener("end", (event) => {
      if (event.data === "port") this.why = "ended";
    });
    this.source.onerror = () => {
      // A browser comes back by itself from all but a refusal.
      if (this.source.readyState === EventSource.CLOSED) this.ask();
    };
  },

  /** What the server remembers; without it the page knows what it has seen. */
  async recall() {
    try {
      const answer = await fetch("live/past");
      if (!answer.ok) return;
      const past = await answer.json();
      history.recall(past.points);
      earlier.recall(past);
    } catch {
      // The stream tells what is the matter.
    }
  },

  /** After a refusal: what it said, and another try. */
  async ask() {
    this.source.close();
    try {
      const answer = await fetch("live?once");
      this.why = answer.ok ? null : (await answer.text()).trim();
    } catch {
      this.why = null;
    }
    setTimeout(() => this.open(), 5000);
    look();
  },

  hear(now) {
    const before = this.beat;
    const isSame = before && before.server.uptime_s < now.server.uptime_s;
    const between = new Between(isSame ? before : null, now);
    this.beat = now;
    this.heardAt = seconds();
    this.why = null;
    history.add(between);
    earlier.note(now.conditions, this.heardAt);
    look();
    if (!document.hidden) show(between);
    this.between = between;
  },
};

/** Conditions that held and do no more. */
const earlier = {
  held: new Map(),
  over: [],

  note(conditions, at) {
    const names = new Set(conditions.map(({ name }) => name));
    for (const [name, since] of this.held) {
      if (!names.has(name)) {
        this.over.unshift({ name, lasted: at - since, at });
        this.held.delete(name);
      }
    }
    for (const { name, lasts_s } of conditions) {
      if (!this.held.has(name)) this.held.set(name, at - lasts_s);
    }
    this.keep();
  },

  recall({ uptime_s, conditions_over }) {
    const now = seconds();
    const own = this.over.filter(({ at }) => at < now - uptime_s);
    const told = conditions_over.map(({ name, lasted_s, ended_ago_s }) => ({ name, lasted: lasted_s, at: now - ended_ago_s }));
    this.over = [...told, ...own];
    this.keep();
  },

  keep() {
    this.over.length = Math.min(this.over.length, 10);
  },

  show(at) {
    byId("earlier").hidden = this.over.length === 0;
    const key = (item) => `${item.name} ${item.at}`;
    fill(byId("earlier-list"), this.over, key, () => make("li"), (item, { name, lasted, at: then }) => {
      say(item, `${capital(words(name))}, for ${lasting(lasted)}, until ${lasting(at - then)} ago`);
    });
  },
};

const show = (between) => {
  const { now } = between;
  parts.about(now);
  parts.drain(now);
  parts.conditions(now);
  earlier.show(feed.heardAt);
  parts.curves(between, history);
  parts.loops(between);
  parts.times(now);
  parts.connections(between);
  parts.requests(between);
  parts.closes(between);
  parts.limits(now);
  parts.talkers(between);
  parts.listeners(between);
  parts.entrance(between);
  say(byId("beats"), `Figures of ${new Date(now.at).toLocaleTimeString()}.`);
};

const stateWords = { serving: "Serving", draining: "Draining", stalled: "Stalled", loop_dead: "Event loop dead" };

/** What the headline says already. */
const saidBy = { draining: ["draining"], stalled: ["stalled_handler"], serving: [], loop_dead: ["draining", "loop_dead"] };

/** The state, its word and its sentence, as far as they are known. */
const judged = () => {
  const { beat, heardAt, why } = feed;
  const age = heardAt === null ? null : seconds() - heardAt;
  if (age === null || age > silentAfter) {
    const old = age === null ? "No figures have come." : `The figures below are ${lasting(age)} old.`;
    if (why === "ended") return ["lost", "Ended", `The server has ended or handed over; trying to reach it again. ${old}`];
    if (why) return ["lost", "Not watching", `The server refused: ${why}. Trying again. ${old}`];
    if (age === null && seconds() < silentAfter) return ["waiting", "Connecting", "The first figures are on their way."];
    return ["lost", "No connection", `The server can't be reached; trying again. ${old}`];
  }
  const { name, text } = beat.state;
  const others = beat.conditions.map(({ name }) => name).filter((other) => !saidBy[name].includes(other));
  const sentence = `${capital(text)}.`;
  if (!others.length) return [name, stateWords[name], sentence];
  return [name === "serving" ? "trouble" : name, `${stateWords[name]}, but: ${others.map(words).join(", ")}`, sentence];
};

/** Says how the server is, now. */
const look = () => {
  const [state, word, sentence] = judged();
  const headline = byId("headline");
  document.body.classList.toggle("stale", state === "lost");
  headline.dataset.state = state;
  say(byId("sentence"), sentence);
  if (byId("word").textContent !== word) {
    say(byId("word"), word);
    // Once for each change, and without the sentence, whose numbers run.
    say(byId("announce"), word);
    document.title = `${word} – tidegate ${location.host}`;
  }
};

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && feed.between) show(feed.between);
});
setInterval(look, 500);
feed.open();
look();
