// The parts that views are made of. Each takes plain data and gives an element.

import { el, scrolling, spoken } from "./dom.js";
import { count, counted, date, duration, holderName, money, named, outcomeName, percent, short, when } from "./format.js";
import { swatch } from "./chart.js";

export const COLORS = ["c1", "c2", "c3", "c4", "c5", "c6"];
export const REST = "rest";

/** One figure that answers one question. `tone` is "good", "warn" or "bad" where it says how things stand. */
export function tile({ label, value, notes = [], tone = "", share = null }) {
  return el("div", { class: `tile ${tone}` },
    el("h2", {}, label),
    el("p", { class: "figure" }, value),
    share === null ? null : bar(share, tone),
    notes.filter(Boolean).map((note) => el("p", { class: "note" }, note)),
  );
}

/** How much of a whole: a length that the figures beside it say too. */
export function bar(share, tone = "") {
  const inner = el("span", { class: `fill ${tone}` });
  inner.style.width = `${Math.max(0, Math.min(100, 100 * share))}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, inner);
}

/** `columns` are { name, of(row), number, wide }; what `of` gives is a text or an element. */
export function table(caption, columns, rows, nothing = "") {
  if (rows.length === 0) return el("p", { class: "nothing" }, nothing);
  const kind = (column) => [column.number && "number", column.wide && "wide", column.rare && "rare"].filter(Boolean).join(" ");
  return scrolling(caption, el("table", {},
    el("caption", { class: "spoken" }, caption),
    el("thead", {}, el("tr", {}, columns.map((column) => el("th", { scope: "col", class: kind(column) }, column.name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, columns.map((column, place) => (
      place === 0 ? el("th", { scope: "row", class: kind(column) }, column.of(row)) : el("td", { class: kind(column) }, column.of(row))
    ))))),
  ));
}

export function spendRows(rows, by, total, colorOf, more = 0) {
  const columns = [
    { name: by, wide: true, of: (row) => [swatch(colorOf(row.name)), el("span", { class: "name" }, named(row.name))] },
    { name: "Spent", number: true, of: (row) => money(row.spent_nusd) },
    { name: "Share", number: true, of: (row) => percent(row.spent_nusd, total.spent_nusd) },
    { name: "Calls", number: true, of: (row) => count(row.attempts) },
    { name: "Failed", number: true, rare: true, of: (row) => percent(row.failed, row.attempts) },
    { name: "Tokens in", number: true, rare: true, of: (row) => short(row.input_tokens) },
    { name: "Tokens out", number: true, rare: true, of: (row) => short(row.output_tokens) },
    { name: "Cache saved", number: true, rare: true, of: (row) => (row.saved_nusd ? money(row.saved_nusd) : "–") },
  ];
  return [
    table(`Spend by ${by.toLowerCase()}`, columns, rows, ""),
    more ? el("p", { class: "note" }, `${count(more)} more with less spend.`) : null,
  ];
}

export function budgets(list) {
  if (list.length === 0) {
    return el("p", { class: "nothing" }, "No budget is set. `budget_day_usd` and `budget_month_usd` in orchestra.toml limit what may be spent.");
  }
  return el("ul", { class: "meters" }, list.map((budget) => {
    const used = budget.spent_nusd + budget.held_nusd;
    const share = budget.limit_nusd ? used / budget.limit_nusd : 1;
    const tone = share >= 1 ? "bad" : share >= 0.8 ? "warn" : "";
    return el("li", {},
      el("div", { class: "line" },
        el("span", {}, el("strong", {}, holderName(budget.holder)), ` · ${budget.period.length === 7 ? date(budget.period) : `${date(budget.period)}, the day`}`),
        el("span", { class: "number" }, percent(used, budget.limit_nusd)),
      ),
      bar(share, tone),
      el("p", { class: "note" }, `${money(budget.spent_nusd)} of ${money(budget.limit_nusd)} spent`
        + `${budget.held_nusd ? `, ${money(budget.held_nusd)} held for calls in flight` : ""}`
        + `${share >= 1 ? ". It is used up." : `. ${money(budget.left_nusd)} left.`}`),
    );
  }));
}

export function alerts(list, timezone) {
  if (list.length === 0) return el("p", { class: "nothing" }, "No alert this month.");
  return el("ul", { class: "alerts" }, list.slice(0, 8).map((alert) => el("li", {},
    el("time", { class: "note", datetime: new Date(alert.at_ms).toISOString() }, when(alert.at_ms, timezone)),
    el("span", {}, `${alert.text}.`.replace(/\.\.$/, ".")),
  )));
}

const STATES = {
  ready: ["good", "Ready"], cooling: ["bad", "Set aside"], unreachable: ["warn", "Not reachable"], no_key: ["off", "No key"], disabled: ["off", "Switched off"],
  ok: ["good", "Ready"], retired: ["bad", "Retired"], retiring: ["warn", "Retiring"], unavailable: ["off", "Unavailable"],
};
const BREAKERS = { closed: "closed", open: "open", half_open: "half open: one call may try" };

export function state(name) {
  const [tone, text] = STATES[name] ?? ["off", name];
  return el("span", { class: `state ${tone}` }, text);
}

/** Whether somebody should look at it: it was asked lately, or fell out though it has a key. */
export function needsCare(provider) {
  return provider.state === "cooling" || (provider.state === "unreachable" && (provider.use?.attempts ?? 0) > 0);
}

/** Models in use that are gone, go soon, or are set aside for a while. */
export function leavingModels(provider) {
  return provider.models.filter((model) => model.use.attempts && (["retired", "retiring"].includes(model.state) || model.breaker === "open"));
}

const ORDER = ["cooling", "unreachable", "ready", "no_key", "disabled"];

export function providers(list, timezone, open = new Set()) {
  const shown = list.filter((one) => !["no_key", "disabled", "unreachable"].includes(one.state) || one.use.attempts);
  const rest = list.filter((one) => !shown.includes(one));
  const sorted = [...shown].sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state) || other.use.attempts - one.use.attempts);
  return [
    sorted.length === 0 ? el("p", { class: "nothing" }, "No provider can be used yet. Set a provider's key, OPENROUTER_API_KEY for example, and start again; `orchestra doctor` says what is missing.") : null,
    el("ul", { class: "providers" }, sorted.map((one) => provider(one, timezone, open))),
    rest.length ? el("p", { class: "note" }, `Not set up: ${rest.map((one) => one.title).join(", ")}.`) : null,
  ];
}

function provider(one, timezone, open) {
  const { use } = one;
  const models = leavingModels(one);
  const leaving = one.models.filter((model) => ["retired", "retiring"].includes(model.state)).length;
  const key = `provider ${one.name}`;
  const details = el("details", { open: open.has(key), ontoggle: (event) => (event.target.open ? open.add(key) : open.delete(key)) },
    el("summary", { "data-key": key }, `${counted(one.models.length, "model")}${leaving ? `, ${count(leaving)} retired or soon` : ""}`, spoken(` at ${one.title}`)),
    table(`Models at ${one.title}`, [
      { name: "Model", wide: true, of: (model) => el("span", { class: "name" }, model.id) },
      { name: "State", of: (model) => state(model.state) },
      { name: "7 days", number: true, of: (model) => (model.use.attempts ? count(model.use.attempts) : "–") },
      { name: "Answered", number: true, of: (model) => (model.use.success === null ? "–" : percent(model.use.success, 1)) },
      { name: "p50", number: true, of: (model) => duration(model.use.median_ms) },
      { name: "p95", number: true, of: (model) => duration(model.use.slow_ms) },
      { name: "To know", of: (model) => [model.detail, model.replacement && `use ${model.replacement}`].filter(Boolean).join("; ") },
    ], one.models, "It lists no models."),
  );
  return el("li", {},
    el("div", { class: "line" }, el("h3", {}, one.title), state(one.state)),
    one.detail ? el("p", {}, `${capital(one.detail)}.`, one.fix ? el("span", { class: "fix" }, ` To do: ${one.fix}.`) : null) : null,
    el("dl", { class: "facts" },
      fact("7 days", use.attempts ? counted(use.attempts, "call") : "not asked"),
      use.success === null ? null : fact("Answered", percent(use.success, 1)),
      use.median_ms === null ? null : fact("p50 / p95", `${duration(use.median_ms)} / ${duration(use.slow_ms)}`),
      use.attempts_today ? fact("Today", `${money(use.spent_today_nusd)} for ${count(use.attempts_today)}`) : null,
      one.state === "ready" || one.breaker !== "closed" ? fact("Breaker", `${BREAKERS[one.breaker] ?? one.breaker}${one.until_ms ? ` until ${when(one.until_ms, timezone)}` : ""}`) : null,
      use.last_error ? fact("Last trouble", `${outcomeName(use.last_error)}, ${when(use.last_error_ms, timezone)}`) : null,
    ),
    models.length ? el("ul", { class: "retired" }, models.map((model) => el("li", {}, state(model.breaker === "open" && model.state !== "retired" ? "cooling" : model.state), " ",
      el("span", { class: "name" }, model.id), model.detail ? ` – ${model.detail}` : "", model.replacement ? `; use ${model.replacement}` : ""))) : null,
    one.models.length ? details : null,
  );
}

function fact(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

function capital(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : text;
}

export { fact };
