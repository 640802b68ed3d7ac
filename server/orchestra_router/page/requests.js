// The last requests: who was asked, how often, what it cost and why.

import { el } from "./dom.js";
import { cacheName, count, duration, money, named, outcomeName, when } from "./format.js";
import { fact, table } from "./parts.js";

/** `open` is the set of the ids that are unfolded; it is kept up here. */
export function request(row, timezone, open) {
  const at = row.columns;
  const hit = at.cache === "HIT" || at.cache === "SEMANTIC HIT";
  const failed = at.outcome !== "ok";
  const deployment = at.provider ? [el("span", { class: "name" }, at.model || "?"), el("span", { class: "note" }, ` ${at.provider}`)] : el("span", { class: "note" }, "nobody answered");
  const tries = row.attempts.length;
  const verdict = failed ? [`state bad`, outcomeName(at.outcome)] : hit ? ["state cached", "From the cache"] : tries > 1 ? ["state warn", `Answered at try ${count(tries)}`] : ["state good", "Answered"];
  return el("li", {}, el("details", { open: open.has(at.request_id), ontoggle: (event) => (event.target.open ? open.add(at.request_id) : open.delete(at.request_id)) },
    el("summary", { "data-key": at.request_id },
      el("time", { datetime: new Date(at.created_ms).toISOString() }, when(at.created_ms, timezone)),
      el("span", { class: verdict[0] }, verdict[1]),
      el("span", { class: "who" }, deployment),
      el("span", { class: "task" }, [named(at.task, "no task"), at.user].filter(Boolean).join(" · ")),
      el("span", { class: "number" }, hit ? `saved ${money(at.saved_nusd)}` : money(at.cost_nusd)),
      el("span", { class: "number took" }, duration(at.latency_ms)),
    ),
    el("div", { class: "unfolded" },
      el("dl", { class: "facts" },
        at.reason ? fact("Why this route", at.reason) : null,
        fact("Cache", `${cacheName(at.cache)}${at.cache_reason ? ` (${at.cache_reason})` : ""}`),
        fact("Who", [at.access_key, at.user, at.session].filter(Boolean).join(" · ")),
        labels(at.metadata, (name, value) => `${name}: ${value}`, "Labels"),
        labels(at.redactions, (name, many) => `${many} × ${name}`, "Redacted"),
        fact("Request", el("code", {}, at.request_id)),
        fact("Trace", el("code", {}, at.trace_id)),
      ),
      tries ? table("Attempts of this request", [
        { name: "Try", of: (one) => count(one.number) },
        { name: "Asked", wide: true, of: (one) => el("span", { class: "name" }, `${one.provider}/${one.model}`) },
        { name: "Outcome", of: (one) => (one.state === "held" ? "In flight" : `${outcomeName(one.outcome)}${one.status && one.outcome !== "ok" ? ` (${one.status})` : ""}`) },
        { name: "Cost", number: true, of: (one) => `${money(one.cost_nusd)}${one.state === "uncertain" ? ", worst case" : ""}` },
        { name: "Took", number: true, of: (one) => duration(one.latency_ms) },
        { name: "Waited", number: true, of: (one) => (one.waited_ms ? duration(one.waited_ms) : "–") },
      ], row.attempts) : el("p", { class: "note" }, hit ? "No provider was asked." : "No attempt of it is on record."),
    ),
  ));
}

function labels(json, write, name) {
  let pairs = [];
  try {
    pairs = Object.entries(JSON.parse(json));
  } catch {
    // A record that cannot be read has no labels to show.
  }
  return pairs.length ? fact(name, pairs.map(([key, value]) => write(key, value)).join(" · ")) : null;
}
