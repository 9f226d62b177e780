"use strict";
// Each part of the page, from one beat of the feed and the one before it.
//
// A part never asks for anything, and keeps nothing that is not on the page.

/** What is known of the time between two beats. */
class Between {
  constructor(before, now) {
    this.before = before;
    this.now = now;
    this.seconds = before ? now.server.uptime_s - before.server.uptime_s : 0;
  }

  /** How fast something grew, a second; unknown without a beat before. */
  rate(of) {
    if (!(this.seconds > 0)) return null;
    const [before, now] = [of(this.before), of(this.now)];
    return isNumber(before) && isNumber(now) ? Math.max(now - before, 0) / this.seconds : null;
  }
}

/** Words for names that are not plain. */
const words = (name) => name.replaceAll("_", " ");

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

const cells = (row, kinds) => row.append(...kinds.map((kind) => make("td", kind ? { class: kind } : {})));

/** A row with a head and so many cells. */
const rowOf = (head, kinds) => {
  const row = make("tr", {}, make("th", { scope: "row" }, head));
  cells(row, kinds);
  return row;
};

const refusals = ["refused_full", "refused_listener", "refused_address", "refused_descriptors"];

/** Of these counters, all together. */
const sumOf = (names) => (beat) => names.reduce((sum, name) => sum + beat.counters[name], 0);

/** What has a curve: how much it is now, its unit, and what is told below. */
const curves = {
  messages_in: { now: (t) => t.rate((b) => b.counters.frames_in), shown: rate, more: (b) => [b.counters.frames_in, "in all"] },
  messages_out: { now: (t) => t.rate((b) => b.counters.frames_out), shown: rate, more: (b) => [b.counters.frames_out, "in all"] },
  bytes_in: { now: (t) => t.rate((b) => b.counters.bytes_in), shown: (v) => rate(v, "bytes"), more: (b) => [b.counters.bytes_in, "in all", bytes] },
  bytes_out: { now: (t) => t.rate((b) => b.counters.bytes_out), shown: (v) => rate(v, "bytes"), more: (b) => [b.counters.bytes_out, "in all", bytes] },
  open: { now: (t) => t.now.gauges.open, shown: whole, more: (b) => [b.limits[0].limit, "may be"] },
  accepted: { now: (t) => t.rate((b) => b.counters.accepted), shown: rate, more: (b) => [b.counters.accepted, "in all"] },
  in_flight: { now: (t) => t.now.gauges.in_flight, shown: whole, more: (b) => [b.counters.started, "started"] },
  turn_p99: { now: (t) => t.now.times.turn?.p99_us ?? null, shown: micros, more: (b) => [b.counters.turns, "turns"] },
};

const parts = {
  about(now) {
    const { version, commit, uptime_s } = now.server;
    const built = commit === "unknown" ? "" : `, ${commit.slice(0, 12)}`;
    say(byId("about"), `${location.host}, version ${version}${built}, up ${lasting(uptime_s)}`);
  },

  drain(now) {
    const { drain, gauges, limits } = now;
    byId("drain").hidden = !drain;
    if (!drain) return;
    const left = limits[0].used;
    put(byId("drain-left"), left, `${whole(left)} of ${whole(Math.max(drain.began_with, left))}`);
    put(byId("drain-requests"), gauges.in_flight, whole(gauges.in_flight));
    put(byId("drain-running"), drain.running_s, lasting(drain.running_s));
    put(byId("drain-grace"), drain.left_s, `${lasting(drain.left_s)} of ${lasting(drain.grace_s)}`);
    const place = byId("drain-bar");
    if (!place.firstElementChild) place.append(make("span", { class: "filled" }));
    setBar(place, drain.grace_s > 0 ? drain.running_s / drain.grace_s : 1, drain.left_s > 0 ? "" : "full");
  },

  conditions(now) {
    const { conditions, conditions_known: known, over_s } = now;
    const nothing = over_s === null ? "Not known yet: rates need two looks." : `Nothing: none of the ${known} known conditions holds.`;
    byId("nothing-wrong").hidden = conditions.length > 0;
    say(byId("nothing-wrong"), nothing);
    const build = ({ name }) => {
      const [title, shown, meaning, action] = [make("h3", {}, capital(words(name))), make("p", { class: "shown" }), make("p"), make("p", { class: "action" })];
      return make("li", { "data-condition": name }, title, meaning, shown, action);
    };
    fill(byId("conditions"), conditions, (condition) => condition.name, build, (item, { meaning, action, shown_by, lasts_s }) => {
      const [, text, shown, act] = item.children;
      sayWithCode(text, meaning);
      const signs = shown_by.map(({ sign, is }) => `${sign}, now ${digits(is)}`).join("; ");
      sayWithCode(shown, `For ${lasting(lasts_s)}: ${signs}.`);
      sayWithCode(act, action);
    });
  },

  curves(between, history) {
    const { now } = between;
    for (const place of document.querySelectorAll("[data-curve]")) {
      const name = place.dataset.curve;
      const { now: of, shown, more } = curves[name];
      const value = of(between);
      const plot = place.querySelector(".plot");
      const svg = plot.firstElementChild ?? plot.appendChild(curve());
      const most = drawCurve(svg, history.points(name), history.now, history.span);
      put(place.querySelector(".now"), value, shown(value));
      const caption = place.querySelector("figcaption").textContent;
      svg.setAttribute("aria-label", `${caption} of the last five minutes: ${shown(value)} now, ${shown(most)} at most`);
      const [count, what, unit = whole] = more(now);
      const below = place.querySelector(".more");
      if (!below.firstElementChild) below.append(figure(count, "", `${name}-total`), " ", make("span"), make("span", { class: "peak" }));
      const [total, words, peak] = below.children;
      total.setAttribute("value", String(count));
      say(total, unit(count));
      say(words, what);
      say(peak, most === null ? "" : `peak ${shown(most)}`);
    }
  },

  loops(between) {
    const { now } = between;
    const at = (beat, loop) => beat.loops[loop.loop];
    const build = ({ loop }) => rowOf(String(loop), ["text", "text busy", "", "", "", "", "", ""]);
    fill(byId("loop-rows"), now.loops, ({ loop }) => String(loop), build, (row, loop) => {
      const [, state, busy, open, turn, stalls, ready, messages, received] = row.children;
      const isStuck = loop.running_s >= Math.max(1, now.server.stall_ms / 1000);
      const stuck = `in one turn for ${lasting(loop.running_s)}${loop.visiting ? `, at ${loop.visiting}` : ""}`;
      say(state, loop.dead ? "dead" : isStuck ? stuck : now.drain ? "draining" : "turning");
      row.dataset.mark = loop.dead || isStuck ? "full" : "";
      // A turn that runs counts when it is over: until then it is told beside.
      const share = between.rate((beat) => at(beat, loop).busy_s + at(beat, loop).running_s);
      const part = share === null ? null : Math.min(share, 1);
      if (!busy.firstElementChild) busy.append(figure(part, ""), bar());
      put(busy, part, percent(part));
      setBar(busy.children[1], part, part > 0.9 ? "full" : part > 0.7 ? "near" : "");
      put(open, loop.connections, whole(loop.connections));
      const [inFlow, byteFlow] = [between.rate((beat) => at(beat, loop).messages_in), between.rate((beat) => at(beat, loop).bytes_in)];
      put(messages, inFlow, rate(inFlow));
      put(received, byteFlow, rate(byteFlow, "bytes"));
      put(turn, loop.turn?.p99_us, time(loop.turn, "p99_us"));
      put(ready, loop.ready?.p99_us, time(loop.ready, "p99_us"));
      put(stalls, loop.stalls + loop.slow_turns, whole(loop.stalls + loop.slow_turns));
    });
  },

  times(now) {
    const kinds = ["", "", "", "", ""];
    const update = (row, [, , durations, stalls]) => {
      const [, p50, p99, p999, count, held] = row.children;
      put(p50, durations?.p50_us, time(durations, "p50_us"));
      put(p99, durations?.p99_us, time(durations, "p99_us"));
      put(p999, durations?.p999_us, time(durations, "p999_us"));
      put(count, durations?.count, whole(durations?.count));
      put(held, stalls, stalls === null ? "" : whole(stalls));
      held.dataset.mark = stalls > 0 ? "near" : "";
    };
    const { turn, ready, round_trip } = now.times;
    const times = [
      ["ready", "A ready connection waits", ready, null],
      ["turn", "A loop's turn takes", turn, now.counters.slow_turns],
      ["round_trip", "A heartbeat, there and back", round_trip, null],
    ];
    const build = ([, head]) => rowOf(head, kinds);
    fill(byId("time-rows"), times, ([key]) => key, build, update);
    const used = now.services.filter(({ measured, stalls, service }) => measured > 0 || stalls > 0 || !["other", "mixed"].includes(service));
    const services = used.map(({ service, routes, handler, stalls }) => [`${service} ${routes}`, nameOf(service, routes), handler, stalls]);
    fill(byId("service-rows"), services, ([key]) => key, build, update);
    say(byId("stall-note"), `A stall is a batch, or a turn, that takes longer than ${now.server.stall_ms} ms. Of handlers, one request in 64 is timed.`);
  },

  connections(between) {
    const { now } = between;
    const state = (name) => [`is-${name}`, words(name), now.gauges[name], null, null];
    const paused = (pause, why) => [`paused-${pause}`, `not read: ${why}`, now.gauges[`waiting_for_${pause}`], between.rate((b) => b.counters[`paused_${pause}`]), now.counters[`paused_${pause}`]];
    const counted = (key, head, of) => [key, head, null, between.rate(of), of(now)];
    const rows = [
      ["open", "open", now.gauges.open, null, null],
      ...["connecting", "draining", "answering", "flushing", "lingering"].filter((name) => now.gauges[name] > 0).map(state),
      counted("accepted", "newcomers", (b) => b.counters.accepted),
      counted("dialed", "dialed", (b) => b.counters.dialed),
      counted("refused", "refused", sumOf(refusals)),
      counted("handed_off", "given to another loop", (b) => b.counters.handed_off),
      paused("output", "its replies wait"),
      paused("memory", "buffers are short"),
      paused("slots", "too many requests open"),
      paused("rate", "over its rate"),
    ];
    fillCounted(byId("connection-rows"), rows.filter(([key, , current, , total]) => ["open", "accepted", "refused"].includes(key) || current || total));
  },

  requests(between) {
    const { now } = between;
    const counted = (key, head, of) => [key, head, null, between.rate(of), of(now)];
    const outcomes = Object.keys(now.outcomes).map((name) => counted(name, words(name), (b) => b.outcomes[name]));
    const more = [
      counted("forbidden", "forbidden, of those failed", (b) => b.counters.forbidden),
      counted("refused_rate", "over a rate, of those failed", (b) => b.counters.refused_rate),
      counted("late_answers", "answers that came too late", (b) => b.counters.late_answers),
      counted("panics", "panics caught", (b) => b.counters.panics),
      counted("replies_unsent", "replies not taken", (b) => b.counters.replies_unsent),
      counted("requests_dropped", "read and not started", (b) => b.counters.requests_dropped),
    ];
    const rows = [
      ["in_flight", "in flight", now.gauges.in_flight, null, null],
      counted("started", "started", (b) => b.counters.started),
      ...outcomes,
      ...more,
    ];
    const always = ["in_flight", "started", "answered", "failed"];
    fillCounted(byId("request-rows"), rows.filter(([key, , , , total]) => always.includes(key) || total));
  },

  closes(between) {
    const { now } = between;
    const of = (reason) => (beat) => beat.closes.find((close) => close.reason === reason)?.total ?? 0;
    byId("no-closes").hidden = now.closes.length > 0;
    byId("no-closes").nextElementSibling.hidden = now.closes.length === 0;
    const list = now.closes.map((close) => ({ ...close, rate: between.rate(of(close.reason)) }));
    list.sort((one, other) => other.total - one.total || one.reason.localeCompare(other.reason));
    const build = ({ reason, class: kind, in_order }) => {
      const link = make("a", { href: `closed?reason=${reason}&format=text` }, capital(words(reason)));
      const row = rowOf("", ["text", "", ""]);
      row.firstElementChild.append(link);
      say(row.children[1], in_order ? "in order" : kind);
      return row;
    };
    fill(byId("close-rows"), list, ({ reason }) => reason, build, (row, { rate: flow, total }) => {
      put(row.children[2], flow, rate(flow));
      put(row.children[3], total, whole(total));
    });
  },

  limits(now) {
    const build = ({ name, of, then }) => {
      const row = rowOf(capital(of ? `${name} of ${of}` : name), ["text use", "", "", "text then"]);
      say(row.children[4], then);
      return row;
    };
    fill(byId("limit-rows"), now.limits, ({ name, of }) => `${name} ${of}`, build, (row, { used, limit, unit, fullest }) => {
      const [, use, usedCell, limitCell] = row.children;
      const part = fullest ? fullest.used / fullest.limit : used / limit;
      if (!use.firstElementChild) use.append(figure(part, ""), bar(), make("span", { class: "fullest" }));
      put(use, part, percent(part));
      const mark = part >= 0.98 ? "full" : part >= 0.8 ? "near" : "";
      setBar(use.children[1], part, mark);
      const word = { full: "full", near: "nearly full", "": "" }[mark];
      const where = fullest && now.loops.length > 1 && fullest.used > 0 ? `loop ${fullest.loop}` : "";
      say(use.children[2], [word, where].filter(Boolean).join(", "));
      const shown = unit === "bytes" ? bytes : whole;
      put(usedCell, used, shown(used));
      put(limitCell, limit, shown(limit));
    });
  },

  talkers(between) {
    const { talkers } = between.now;
    const about = talkers ? "Open connections that have read and written most, asked of the loops every two seconds. An ID leads to what its loop remembers of it." : "The loops have been asked; no answer yet.";
    say(byId("talkers-about"), talkers && !talkers.connections.length && !talkers.missing.length ? "No connection is open." : about);
    if (!talkers) return;
    fill(byId("talkers-missing"), talkers.missing, ({ loop }) => String(loop), () => make("li"), (item, { why }) => say(item, why));
    const build = ({ id, peer, client_id }) => {
      const row = make("tr", {}, make("th", { scope: "row", class: "text" }, make("a", { href: `connections/${id}?format=text` }, id)));
      cells(row, ["text", "text", "text", "", "", "", "", "", ""]);
      say(row.children[1], peer);
      say(row.children[2], client_id ?? none);
      return row;
    };
    fill(byId("talker-rows"), talkers.connections, ({ id }) => id, build, (row, connection) => {
      const [, , , state, age, idle, received, sent, queued, requests] = row.children;
      const pauses = connection.paused.length ? `, not read (${connection.paused.join(", ")})` : "";
      say(state, connection.state + pauses);
      row.dataset.mark = connection.paused.length ? "near" : "";
      put(age, connection.age_s, lasting(connection.age_s));
      put(idle, connection.idle_s, lasting(connection.idle_s));
      put(received, connection.bytes_in, bytes(connection.bytes_in));
      put(sent, connection.bytes_out, bytes(connection.bytes_out));
      put(queued, connection.queued_bytes, bytes(connection.queued_bytes));
      put(requests, connection.open_requests, whole(connection.open_requests));
    });
  },

  listeners(between) {
    const { now } = between;
    const of = (name) => (beat) => beat.listeners.find(({ listener }) => listener === name)?.accepted ?? 0;
    const list = now.listeners.filter(({ listener, open }) => listener !== "dialed" || open > 0);
    fill(byId("listener-rows"), list, ({ listener }) => listener, ({ listener }) => rowOf(listener, ["", "", "", ""]), (row, item) => {
      const [, open, flow, total, certificate] = row.children;
      const newcomers = between.rate(of(item.listener));
      put(open, item.open, whole(item.open));
      put(flow, newcomers, rate(newcomers));
      put(total, item.accepted, whole(item.accepted));
      const left = item.certificate_expires_in_s;
      put(certificate, left, left === null ? none : left > 0 ? `good for ${lasting(left)}` : "expired");
      certificate.dataset.mark = left === null ? "" : left <= 0 ? "full" : left < 14 * 86_400 ? "near" : "";
    });
  },

  entrance(between) {
    const { now } = between;
    const own = /^(entered|untrusted_proxy|bad_proxy_header|entrance_|tls_|welcomed|hellos_|failures_|users_|unasked)/;
    const names = Object.keys(now.counters).filter((name) => own.test(name) && now.counters[name] > 0);
    const waiting = now.gauges.entering;
    byId("entrance").hidden = names.length === 0 && waiting === 0;
    const rows = names.map((name) => [name, words(name), null, between.rate((b) => b.counters[name]), now.counters[name]]);
    if (waiting > 0 || now.counters.entered > 0) rows.unshift(["entering", "at the entrance", waiting, null, null]);
    fillCounted(byId("entrance-rows"), rows);
  },
};

/** How long something took, in words for what has no number. */
const time = (durations, which) => {
  if (!durations || durations.count === 0) return none;
  return durations[which] === null ? "over 8.4 s" : micros(durations[which]);
};

const nameOf = (service, routes) => {
  if (service === "other") return "Handlers of other routes";
  if (service === "mixed") return "Batches of several services";
  return `Handler ${service}, ${routes.includes("-") ? "routes" : "route"} ${routes}`;
};

/** Rows of a key, a head, how many now, how many a second, how many in all. */
const fillCounted = (body, rows) =>
  fill(body, rows, ([key]) => key, ([, head]) => rowOf(capital(head), ["", "", ""]), (row, [, , current, flow, total]) => {
    const [, now, second, all] = row.children;
    put(now, current, current === null ? "" : whole(current));
    put(second, flow, total === null ? "" : rate(flow));
    put(all, total, total === null ? "" : whole(total));
  });
