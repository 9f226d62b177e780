#!/usr/bin/env python3
"""Makes grafana.json beside it: the dashboard as a table of panels, which is what to edit.

`--check` only tells whether the file is what this makes. tests/operate.rs holds every metric, label and value in it to
what a server has. In an expression `@` stands for the selection of servers, and `~` for the window of a rate.
"""
import json
import sys
from pathlib import Path

OUT = Path(__file__).with_name("grafana.json")
SELECTION = 'job=~"$job", instance=~"$instance"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24

# Units, as Grafana calls them.
COUNT, SHARE, SECONDS, BYTES, BYTES_RATE, RATE, PER_SECOND = "short", "percentunit", "s", "bytes", "Bps", "reqps", "cps"


def quantile(q, name, by=""):
    return f"histogram_quantile({q}, sum by (le{by}) (rate({name}_bucket{{@}}[~])))"


def rate(name, by, more=""):
    return f"sum by ({by}) (rate({name}{{@{more}}}[~]))" if by else f"sum(rate({name}{{@{more}}}[~]))"


def total(name, by="", more=""):
    return f"sum by ({by}) ({name}{{@{more}}})" if by else f"sum({name}{{@{more}}})"


def use(part, whole, by):
    return f"sum by ({by}) ({part}{{@}}) / sum by ({by}) ({whole}{{@}})"


LOOP = "{{instance}} loop {{shard}}"
EACH = "instance, shard"


def stat(title, unit, expr, description, red=None):
    return {"kind": "stat", "title": title, "unit": unit, "queries": [(expr, "")], "description": description, "red": red}


def lines(title, unit, description, *queries, stacked=False, red=None, wide=8):
    return {"kind": "timeseries", "title": title, "unit": unit, "queries": queries, "description": description,
            "stacked": stacked, "red": red, "wide": wide}


GLANCE = [
    stat("Servers", COUNT, "count(tidegate_build_info{@})", "Servers that were scraped."),
    stat("Connections", COUNT, total("tidegate_connections"), "Open connections of all loops, in any state."),
    stat("Requests", RATE, rate("tidegate_requests_started_total", ""), "Requests handed to the service, a second."),
    stat("Failed", SHARE, 'sum(rate(tidegate_requests_ended_total{@, outcome!~"answered|silent"}[~])) / '
         "sum(rate(tidegate_requests_ended_total{@}[~]))", "Part of the requests that were neither answered nor one-way.", 0.01),
    stat("Turn, p99", SECONDS, quantile(0.99, "tidegate_turn_duration_seconds"),
         "One of a hundred turns of a loop takes longer. What comes meanwhile waits so long.", 0.1),
    stat("Busiest loop", SHARE, "max(rate(tidegate_shard_busy_seconds_total{@}[~]))",
         "Part of its time that the busiest loop spends in turns. Near 1 it is the bottleneck.", 0.9),
    stat("Draining", COUNT, total("tidegate_draining"), "Servers that drain, and take no newcomers.", 1),
    stat("Certificates", SECONDS, "min(tidegate_tls_certificate_expires_in_seconds{@})",
         "Until the first certificate of a listener ends. Nothing without TLS."),
]

TRAFFIC = [
    lines("Requests by outcome", RATE, "How requests ended. answered and silent are good; failed was refused with a status; "
          "panicked, dropped and timed_out are the service's; abandoned lost its connection.",
          (rate("tidegate_requests_ended_total", "outcome"), "{{outcome}}"), stacked=True),
    lines("Started, and in flight", COUNT, "Requests that were started a second, and those that are open now. In flight grows "
          "when deferred requests are not answered.",
          (rate("tidegate_requests_started_total", ""), "started a second"), (total("tidegate_requests_in_flight"), "in flight")),
    lines("Bytes", BYTES_RATE, "Read from sockets, and taken by them.", (rate("tidegate_received_bytes_total", ""), "received"),
          (rate("tidegate_sent_bytes_total", ""), "sent"), (rate("tidegate_lingered_bytes_total", ""), "thrown away behind an end")),
    lines("Frames", PER_SECOND, "Whole messages, control frames among them.",
          (rate("tidegate_frames_received_total", ""), "received"), (rate("tidegate_frames_sent_total", ""), "sent")),
    lines("Requests that came to nothing", PER_SECOND, "Read and never started since their connection was forced to end; replies "
          "that the peer had not taken; refusals that nobody could hear; answers that came too late.",
          (rate("tidegate_requests_unstarted_total", ""), "not started"), (rate("tidegate_replies_unsent_total", ""), "replies unsent"),
          (rate("tidegate_refusals_unheard_total", ""), "refusals unheard"), (rate("tidegate_late_answers_total", ""), "late answers")),
    lines("Over their rate", PER_SECOND, "Requests answered OVERLOADED since their connection or address sent more than its rate.",
          (rate("tidegate_requests_over_rate_total", ""), "over rate")),
]

LATENCY = [
    lines("Handlers, p50 and p99", SECONDS, "How long handlers took, by what answers. One request in 64 is measured.",
          (quantile(0.5, "tidegate_handler_duration_seconds", ", service, routes"), "{{service}} {{routes}} p50"),
          (quantile(0.99, "tidegate_handler_duration_seconds", ", service, routes"), "{{service}} {{routes}} p99")),
    lines("Turns", SECONDS, "How long turns of the loops took: what comes meanwhile waits so long.",
          *[(quantile(q, "tidegate_turn_duration_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99, 0.999)]),
    lines("Ready and not served yet", SECONDS, "From the moment that the poller named a connection until the loop came to it.",
          *[(quantile(q, "tidegate_ready_delay_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99, 0.999)]),
    lines("Round trips", SECONDS, "From a heartbeat to its answer, for peers that said HELLO: the network and the peer.",
          *[(quantile(q, "tidegate_round_trip_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99)]),
    lines("Who held up a loop", PER_SECOND, "Batches that took longer than the stall limit, by what answered them; and turns that were "
          "slow without one.", (rate("tidegate_stalls_total", "service, routes"), "{{service}} {{routes}}"),
          (rate("tidegate_slow_turns_total", ""), "slow turns")),
    lines("Turns that run now", SECONDS, "How long the turn has been running that runs now. Above 1 s the loop is stuck; the log names the "
          "connection.", (f"max by ({EACH}) (tidegate_turn_running_seconds{{@}})", LOOP), red=1),
]

CONNECTIONS = [
    lines("Connections by state", COUNT, "serving is the usual place; draining, answering, flushing and lingering are on their way out.",
          (total("tidegate_connections", "state"), "{{state}}"), stacked=True),
    lines("Come and go", PER_SECOND, "Newcomers that were taken in, connections that ended, and those that services dialed.",
          (rate("tidegate_connections_accepted_total", ""), "accepted"), (rate("tidegate_connections_closed_total", ""), "closed"),
          (rate("tidegate_connections_dialed_total", ""), "dialed")),
    lines("Newcomers refused", PER_SECOND, "Told OVERLOADED and closed: full, listener and address are limits, descriptors is the host's.",
          (rate("tidegate_connections_refused_total", "cause"), "{{cause}}"), stacked=True),
    lines("Not read now", COUNT, "Connections that are paused: output (the peer does not take its replies), memory (buffers are short), "
          "slots (its open requests), rate (it sent more than its rate).",
          (total("tidegate_connections_paused", "pause"), "{{pause}}"), stacked=True),
    lines("Pauses", PER_SECOND, "Times that reading a connection was paused. Any for memory means that buffers are at their limit.",
          (rate("tidegate_pauses_total", "pause"), "{{pause}}")),
    lines("By listener", COUNT, "Connections of each listener, and of all that were dialed.",
          (total("tidegate_listener_connections", "listener"), "{{listener}}"), stacked=True),
    lines("Accepted by listener", PER_SECOND, "Where newcomers come in.", (rate("tidegate_listener_accepted_total", "listener"), "{{listener}}")),
    lines("Accepts that gave nothing", PER_SECOND, "exhausted: no descriptors or memory; aborted: the peer was gone; failed: see the log. "
          "Paced: newcomers waited in the kernel's queue, since they came faster than limits.accept_rate.",
          (rate("tidegate_accept_failures_total", "cause"), "{{cause}}"), (rate("tidegate_accepts_paced_total", ""), "paced")),
    lines("Heartbeats", PER_SECOND, "Sent to peers that said HELLO and then nothing, and answered; and PONGs that answered nothing.",
          (rate("tidegate_heartbeats_sent_total", ""), "sent"), (rate("tidegate_heartbeats_answered_total", ""), "answered"),
          (rate("tidegate_unasked_pongs_total", ""), "unasked")),
]

LOOPS = [
    lines("Busy", SHARE, "Part of its time that each loop spends in turns. One near 1 and others not: connections are spread unevenly.",
          (rate("tidegate_shard_busy_seconds_total", EACH), LOOP), red=0.9),
    lines("Processor", SHARE, "Processor time of each loop's thread. Much less than Busy: the host takes the processor away.",
          (rate("tidegate_shard_cpu_seconds_total", EACH), LOOP)),
    lines("Ready without a processor", SHARE, "Part of its time that a loop's thread was ready and had none. Above 0.1 the host is too small.",
          (rate("tidegate_shard_runqueue_wait_seconds_total", EACH), LOOP), red=0.1),
    lines("Connections", COUNT, "By loop. Newcomers are spread; connections that are open stay where they are.",
          (total("tidegate_connections", EACH), LOOP)),
    lines("Requests", RATE, "Started, by loop.", (rate("tidegate_requests_started_total", EACH), LOOP)),
    lines("Turns", PER_SECOND, "Turns of each loop.", (rate("tidegate_turns_total", EACH), LOOP)),
    lines("Handed over", PER_SECOND, "Newcomers that a loop gave to one with fewer.",
          (rate("tidegate_connections_handed_off_total", EACH), LOOP)),
    lines("Events too late", PER_SECOND, "Events for connections that were gone already. Harmless.",
          (rate("tidegate_stale_events_total", EACH), LOOP)),
    lines("Dead, or not to be copied", COUNT, "1 for a loop that died; and for one whose figures were copied while it worked: stuck, or very "
          "busy.", (f"max by ({EACH}) (tidegate_shard_dead{{@}})", LOOP + " dead"),
          (f"max by ({EACH}) (tidegate_shard_snapshot_torn{{@}})", LOOP + " torn"), red=1),
]

CLOSES = [
    lines("Ends by reason", PER_SECOND, "Each connection ends for one reason; RUNBOOK.md has an entry for each.",
          (rate("tidegate_connections_closed_total", "reason") + " > 0", "{{reason}}"), stacked=True, wide=16),
    lines("Not in order, by class", PER_SECOND, "Who has to move: temporary passes, protocol is the peer's fault, system is this host's.",
          (rate("tidegate_errors_total", "class"), "{{class}}"), stacked=True),
]

LIMITS = [
    lines("Connections", SHARE, "Of the most at once, those included that are still being placed. At 1 newcomers are refused.",
          (use("tidegate_connections_used", "tidegate_connections_limit", "instance"), "{{instance}}"), red=0.9),
    lines("Connections of each listener", SHARE, "Of the most that it may have.",
          (use("tidegate_listener_connections", "tidegate_listener_connections_limit", "instance, listener"), "{{instance}} {{listener}}"), red=0.9),
    lines("Descriptors", SHARE, "Of the most that the process may have. None left: newcomers are told OVERLOADED.",
          (use("process_open_fds", "process_max_fds", "instance"), "{{instance}}"), red=0.85),
    lines("Buffers", SHARE, "Leased memory of its limit, by part. At 1 connections are paused, and after 100 ms ended.",
          (use("tidegate_buffer_bytes", "tidegate_buffer_limit_bytes", "instance, part"), "{{instance}} {{part}}"), red=0.9),
    lines("Queues of the loops", SHARE, "What waits for a loop, of the most that may. The fullest loop of each server.",
          ("max by (instance, queue) (tidegate_queue_length{@} / tidegate_queue_limit{@})", "{{instance}} {{queue}}"), red=0.9),
    lines("Jobs", SHARE, "Offloaded jobs that wait for a worker, of the most that may. One more is refused.",
          (use("tidegate_jobs_waiting", "tidegate_jobs_waiting_limit", "instance"), "{{instance}}"), red=0.9),
    lines("Addresses", COUNT, "From how many connections come, the most that one may have, and the most requests that one connection may "
          "have open.", (total("tidegate_addresses", "instance"), "{{instance}} addresses"),
          ("max(tidegate_address_connections_limit{@})", "connections of one, at most"),
          ("max(tidegate_open_requests_limit{@})", "requests of a connection, at most")),
    lines("Dialed", COUNT, "The most connections that services may have dialed at once, and those that are.",
          ('sum(tidegate_listener_connections{@, listener="dialed"})', "dialed"), (total("tidegate_dialed_connections_limit"), "limit")),
]

MEMORY = [
    lines("Resident", BYTES, "Memory of the process that is in RAM.", (total("process_resident_memory_bytes", "instance"), "{{instance}}")),
    lines("Buffers by part", BYTES, "Leased for partial input, for output that waits, and from the reserve for small needs.",
          (total("tidegate_buffer_bytes", "part"), "{{part}}"), stacked=True),
    lines("Address space", BYTES, "Mostly what was set aside and never used.", (total("process_virtual_memory_bytes", "instance"), "{{instance}}")),
    lines("Processor of the process", SHARE, "User and system, of one processor.", (rate("process_cpu_seconds_total", "instance"), "{{instance}}")),
]

TLS = [
    lines("Handshakes by outcome", PER_SECOND, "full and resumed came through; the rest did not, each for its own reason.",
          (rate("tidegate_tls_handshakes_total", "outcome"), "{{outcome}}"), stacked=True),
    lines("Connections by version", PER_SECOND, "Newcomers by the version of TLS that they speak.",
          (rate("tidegate_tls_connections_total", "version"), "{{version}}"), stacked=True),
    lines("Certificates end in", SECONDS, "How long the certificate of each listener is good for; less than 0 for one that has expired.",
          ("min by (instance, listener) (tidegate_tls_certificate_expires_in_seconds{@})", "{{instance}} {{listener}}")),
    lines("Certificates read anew", COUNT, "Within ten minutes: done, or refused, and then the old ones stayed.",
          ("sum by (result) (increase(tidegate_tls_reloads_total{@}[10m]))", "{{result}}")),
]

CHANGES = [
    lines("Configuration read anew", COUNT, "Within ten minutes: applied, refused (it was wrong, the old one holds) or unchanged.",
          ("sum by (result) (increase(tidegate_config_reloads_total{@}[10m]))", "{{result}}")),
    lines("Configuration", COUNT, "How many changes each server has taken since it was started.",
          ("max by (instance) (tidegate_config_generation{@})", "{{instance}}")),
    lines("Configuration's age", SECONDS, "How long each server has been going by the configuration of now.",
          ("max by (instance) (tidegate_config_age_seconds{@})", "{{instance}}")),
    lines("Uptime", SECONDS, "A step down is a restart; with a hot restart nobody notices.",
          ("max by (instance) (tidegate_uptime_seconds{@})", "{{instance}}"),
          ("time() - max by (instance) (process_start_time_seconds{@})", "{{instance}} process")),
    lines("Versions", COUNT, "Servers by version and commit.", ("count by (version, commit) (tidegate_build_info{@})", "{{version}} {{commit}}"), stacked=True),
]

USERS = [
    lines("HELLOs", PER_SECOND, "Peers that were welcomed, and those that were refused: unknown (nobody's token or certificate), throttled (too "
          "many from its address had failed).", (rate("tidegate_hellos_welcomed_total", ""), "welcomed"),
          (rate("tidegate_hellos_refused_total", "cause"), "refused, {{cause}}")),
    lines("Forbidden", PER_SECOND, "Requests on routes that their user may not use.", (rate("tidegate_requests_forbidden_total", ""), "forbidden")),
    lines("Removed, forgotten", PER_SECOND, "Connections ended since their user is not known any more; and addresses whose failed HELLOs are "
          "counted no more: a rate of these means guesses from thousands of addresses.",
          (rate("tidegate_users_removed_total", ""), "users removed"), (rate("tidegate_hello_failures_forgotten_total", ""), "addresses forgotten")),
]

ENTRANCE = [
    lines("Waiting", COUNT, "Newcomers that have not brought yet what their listener wants first: a PROXY header, a TLS handshake.",
          (total("tidegate_entrance_waiting", "instance"), "{{instance}}")),
    lines("Entered", PER_SECOND, "Newcomers that brought it, and became connections.", (rate("tidegate_entrance_entered_total", ""), "entered")),
    lines("Closed before", PER_SECOND, "By reason; OPERATIONS.md says what to do about each.",
          (rate("tidegate_entrance_closed_total", "reason"), "{{reason}}"), stacked=True),
]

SERVICES = [
    lines("Workers", COUNT, "Threads for offloaded jobs, jobs that run, and jobs that wait.", (total("tidegate_workers"), "workers"),
          (total("tidegate_jobs_running"), "running"), (total("tidegate_jobs_waiting"), "waiting")),
    lines("Jobs by end", PER_SECOND, "run (panicked ones are among them), expired, refused, panicked.", (rate("tidegate_jobs_total", "end"), "{{end}}")),
    lines("Panics", COUNT, "Of handlers, within ten minutes. Each cost its request an INTERNAL; the log has the place.",
          ("sum by (instance) (increase(tidegate_panics_total{@}[10m]))", "{{instance}}"), red=1),
    lines("What services asked for in vain", PER_SECOND, "Effects that did not fit their list, publications that a loop did not get, messages "
          "for a connection that was gone, messages dropped for a rate.", (rate("tidegate_effects_refused_total", ""), "effects refused"),
          (rate("tidegate_publishes_lost_total", ""), "publications lost"), (rate("tidegate_undeliverable_total", ""), "undeliverable"),
          (rate("tidegate_deliveries_dropped_total", ""), "dropped for a rate")),
    lines("What looking costs", SHARE, "Time spent on making earlier scrapes' text, and scrapes a second.",
          (rate("tidegate_scrape_seconds_total", "instance"), "{{instance}}"), (rate("tidegate_scrapes_total", "instance"), "{{instance}} scrapes")),
]

TRACES = [
    lines("Spans recorded", PER_SECOND, "Requests that became spans of distributed traces.", (rate("tidegate_spans_recorded_total", EACH), LOOP)),
    lines("Spans dropped", PER_SECOND, "Requests that were to be recorded and have no span, by cause: rate, open, ring.",
          (rate("tidegate_spans_dropped_total", "cause"), "{{cause}}"), stacked=True),
    lines("Spans at the collector", PER_SECOND, "Those that it has, and those that it does not have, by cause.",
          (rate("tidegate_spans_exported_total", ""), "exported"), (rate("tidegate_spans_unexported_total", "cause"), "{{cause}}")),
    lines("Spans waiting", COUNT, "For the collector.", (total("tidegate_spans_waiting", "instance"), "{{instance}}")),
    lines("Requests to the collector", PER_SECOND, "done, retried (they failed and were to be made again), failed (for good; see the log).",
          (rate("tidegate_trace_exports_total", "result"), "{{result}}")),
]

ROWS = [
    ("At a glance", GLANCE), ("Traffic", TRAFFIC), ("Latency", LATENCY), ("Connections", CONNECTIONS),
    ("Loops side by side", LOOPS), ("Why connections end", CLOSES), ("Limits: use of capacity", LIMITS), ("Memory and processor", MEMORY),
    ("TLS", TLS), ("Reloads and restarts", CHANGES), ("Users", USERS), ("Entrance", ENTRANCE), ("Services", SERVICES),
    ("Traces", TRACES),
]


def expression(text):
    return text.replace("@", SELECTION).replace("~]", "$__rate_interval]")


def thresholds(red):
    steps = [{"color": "green", "value": None}]
    return {"mode": "absolute", "steps": steps + ([{"color": "red", "value": red}] if red is not None else [])}


def targets(queries):
    return [{"refId": chr(65 + at), "datasource": SOURCE, "editorMode": "code", "range": True, "expr": expression(expr),
             "legendFormat": legend or "__auto"} for at, (expr, legend) in enumerate(queries)]


def panel(spec, number, place):
    defaults = {"unit": spec["unit"], "color": {"mode": "palette-classic"}, "mappings": [], "thresholds": thresholds(spec["red"])}
    if spec["kind"] == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value",
                   "graphMode": "area", "textMode": "auto", "justifyMode": "auto", "orientation": "auto"}
    else:
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if spec["stacked"] else 5, "showPoints": "never",
            "spanNulls": False, "stacking": {"mode": "normal" if spec["stacked"] else "none", "group": "A"},
            "thresholdsStyle": {"mode": "off" if spec["red"] is None else "line"}}
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
        if spec["title"] != "Certificates end in":  # that one may be less than 0
            defaults["min"] = 0
    return {"id": number, "type": spec["kind"], "title": spec["title"], "description": spec["description"], "datasource": SOURCE,
            "gridPos": place, "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options, "targets": targets(spec["queries"])}


def panels():
    number, y = 1, 0
    for title, specs in ROWS:
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}}
        number, y, x = number + 1, y + 1, 0
        is_glance = specs[0]["kind"] == "stat"
        height = 4 if is_glance else 8
        for spec in specs:
            width = WIDTH // len(specs) if is_glance else spec["wide"]
            if x + width > WIDTH:
                x, y = 0, y + height
            yield panel(spec, number, {"h": height, "w": width, "x": x, "y": y})
            number, x = number + 1, x + width
        y += height


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "options": [], "regex": "", "hide": 0}


def annotation(name, color, expr):
    return {"name": name, "datasource": SOURCE, "enable": True, "iconColor": color, "expr": expression(expr),
            "titleFormat": name, "textFormat": "{{instance}}", "step": "60s", "useValueForTime": False}


def dashboard():
    return {
        "title": "tidegate", "uid": "tidegate", "description": "Everything that a tidegate server tells at /metrics.",
        "tags": ["tidegate"], "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
        "timezone": "browser", "time": {"from": "now-1h", "to": "now"}, "links": [], "id": None,
        "annotations": {"list": [
            annotation("Restart", "purple", "resets(tidegate_uptime_seconds{@}[1m]) > 0"),
            annotation("Configuration changed", "blue", "changes(tidegate_config_generation{@}[1m]) > 0"),
            annotation("Draining", "orange", "tidegate_draining{@} > 0")]},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "options": [],
             "regex": "", "refresh": 1, "multi": False, "includeAll": False, "hide": 0},
            variable("job", "Job", "label_values(tidegate_build_info, job)"),
            variable("instance", "Server", 'label_values(tidegate_build_info{job=~"$job"}, instance)')]},
        "panels": list(panels()),
    }


def text():
    """A panel a line, so that a change of one is a change of one line."""
    whole = dashboard()
    inner = whole.pop("panels")
    front = json.dumps(whole, indent=1, ensure_ascii=False)[:-2]
    return front + ',\n "panels": [\n' + ",\n".join("  " + json.dumps(each, ensure_ascii=False) for each in inner) + "\n ]\n}\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if OUT.read_text(encoding="utf-8") != text():
            sys.exit(f"{OUT} is not what this script makes; run it without --check")
    else:
        OUT.write_text(text(), encoding="utf-8")
