// The page: asks for the views, shows them, and asks again when something has changed.

import { Chart } from "./chart.js";
import { el, fill } from "./dom.js";
import { count, counted, date, duration, lastDay, money, monthName, named, outcomeName, percent, short, shortMoney, stepName, stepTick } from "./format.js";
import { COLORS, REST, alerts, budgets, needsCare, providers, leavingModels, spendRows, table, tile } from "./parts.js";
import { request } from "./requests.js";

const EVERY_MS = 4_000;
const MOST_WAIT_MS = 30_000;
const FILTERS = ["access_key", "user", "task"];
const NOBODY = "\u0000";
const BY_NAMES = { provider: "Provider", model: "Model", task: "Task", user: "User", access_key: "Key" };

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const open = new Set();
const seen = new Map();
const charts = { spend: new Chart("bars"), volume: new Chart("bars"), speed: new Chart("lines"), cache: new Chart("lines"), failed: new Chart("lines") };
let version = null;
let failures = 0;
let timer = 0;
let round = 0;
let older = [];
let timezone = "UTC";

// --- asking --------------------------------------------------------------------------------------------------

class SignedOut extends Error {}

async function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(`api/${path}${query ? `?${query}` : ""}`, { headers: { accept: "application/json" }, credentials: "same-origin" });
  if (response.status === 401 || response.status === 403) throw new SignedOut();
  const body = await response.json();
  if (!response.ok) throw new Error(body?.error?.message ?? body?.message ?? `The server answered ${response.status}.`);
  return body;
}

function picked() {
  const parameters = {};
  for (const name of ["range", "first_day", "last_day", ...FILTERS]) {
    if (asked.has(name)) parameters[name] = asked.get(name);
  }
  return parameters;
}

/** Ask for one view and show it; what goes wrong is said in its panel and nowhere else. */
async function view(name, path, parameters, show) {
  const mine = round;
  try {
    const data = await get(path, parameters);
    if (mine !== round) return;
    const text = JSON.stringify(data);
    if (seen.get(name) === text) return;
    seen.set(name, text);
    problem(name, "");
    show(data);
  } catch (error) {
    if (error instanceof SignedOut || error instanceof TypeError) throw error;
    if (mine === round) problem(name, error.message);
  }
}

function problem(name, text) {
  const place = $(`${name}-problem`);
  place.hidden = !text;
  place.textContent = text && `This cannot be shown. ${text}`;
  if (text) seen.delete(name);
}

async function refresh() {
  const cut = picked();
  // First, for it says whether there is anything at all.
  await view("overview", "overview", {}, showOverview);
  await Promise.all([
    view("providers", "providers", {}, showProviders),
    view("spend", "spend", { ...cut, by: by() }, showSpend),
    view("traffic", "traffic", cut, showTraffic),
    view("speed", "speed", cut, showSpeed),
    view("requests", "requests", { ...cut, ...onlyFailed() }, showRequests),
    view("filters", "choices", cut, showChoices),
  ]);
  document.body.classList.remove("loading");
}

/** Whatever was asked before and has not come yet is of no interest any more. */
async function anew() {
  round += 1;
  older = [];
  try {
    await refresh();
  } catch (error) {
    lost(error);
  }
}

async function tick() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const now = await get("version");
    if (now.version !== version) {
      await refresh();
      version = now.version;
    }
    failures = 0;
    live("on", "Live");
    $("trouble").hidden = true;
    $("notice").hidden = !now.notice;
    $("notice").textContent = now.notice;
  } catch (error) {
    lost(error);
  }
  timer = setTimeout(tick, Math.min(MOST_WAIT_MS, EVERY_MS * 2 ** Math.min(failures, 4)));
}

function lost(error) {
  failures += 1;
  version = null;
  const signedOut = error instanceof SignedOut;
  if (signedOut && seen.size === 0) {
    location.replace("sign-in");
    return;
  }
  live("off", signedOut ? "Signed out" : "Not connected");
  fill($("trouble"), signedOut
    ? ["You are signed out. ", el("a", { href: "sign-in" }, "Sign in again"), " to see what is new."]
    : "Orchestra does not answer. What you see is from before; the page goes on by itself when it is back.");
  $("trouble").hidden = false;
}

function live(state, text) {
  $("live").className = `live ${state}`;
  $("live").textContent = text;
}

// --- showing -------------------------------------------------------------------------------------------------

let lastOverview = null;
let lastProviders = null;

function showOverview(data) {
  lastOverview = data;
  timezone = data.timezone;
  $("welcome").hidden = data.ever_asked;
  fill($("budgets"), budgets(data.budgets));
  fill($("alerts"), alerts(data.alerts, timezone));
  fill($("notes"), data.notes.map((note) => el("p", { class: "note" }, note)));
  showTiles();
}

function showProviders(data) {
  lastProviders = data;
  fill($("providers"), providers(data.providers, timezone, open), data.notes.map((note) => el("p", { class: "note" }, note)));
  showTiles();
}

function showTiles() {
  if (!lastOverview || !lastProviders) return;
  const { spent_month: spent, projection, month, budgets: all } = lastOverview;
  const limit = all.find((budget) => budget.holder === "global" && budget.period.length === 7)?.limit_nusd ?? null;
  const share = limit ? spent.spent_nusd / limit : null;
  const tone = (part) => (part === null || part < 0.8 ? "" : part < 1 ? "warn" : "bad");
  const ahead = limit && projection ? projection.projected_nusd / limit : null;
  const care = lastProviders.providers.filter(needsCare);
  const ready = lastProviders.providers.filter((one) => one.state === "ready");
  const models = ready.flatMap((one) => leavingModels(one).map((model) => `${one.title}: ${model.id}`));
  const broken = care.map((one) => `${one.title}: ${one.detail}`);
  fill($("tiles"),
    tile({
      label: `Spent in ${monthName(month)}`,
      value: money(spent.spent_nusd),
      share,
      tone: tone(share),
      notes: [limit ? `of ${money(limit)} for the month` : "no monthly budget", `${money(lastOverview.spent_today_nusd)} today`],
    }),
    tile({
      label: "Heading for",
      value: projection ? money(projection.projected_nusd) : "–",
      share: ahead,
      tone: tone(ahead),
      notes: projection
        ? [`by ${lastDay(month)}${ahead !== null ? `, ${percent(projection.projected_nusd, limit)} of the budget` : ""}`, `at ${money(projection.mean_day_nusd)} a day lately`]
        : ["A forecast needs one whole day of records."],
    }),
    tile({
      label: "Providers",
      value: care.length ? `${count(care.length)} need${care.length === 1 ? "s" : ""} care` : ready.length ? `${count(ready.length)} ready` : "None ready",
      tone: care.length || !ready.length ? "bad" : models.length ? "warn" : "good",
      notes: care.length ? broken.slice(0, 2) : models.length ? [`${counted(models.length, "model")} in use out or retiring`, models[0]] : ready.length ? ["Nothing is broken."] : ["Set a key; see below."],
    }),
    tile({
      label: "Saved by the cache",
      value: money(spent.saved_nusd),
      notes: [spent.hits + spent.misses ? `${percent(spent.hits, spent.hits + spent.misses)} of ${count(spent.hits + spent.misses)} lookups answered` : "nothing was looked up yet", `in ${monthName(month)}`],
    }),
  );
}

function showSpend(data) {
  const { span } = data;
  const colors = new Map(data.series.map((one, place) => [one.name, one.rest ? REST : COLORS[place] ?? REST]));
  const shown = data.series.filter((one) => one.spent_nusd.some(Boolean));
  $("spend-total").textContent = money(data.total.spent_nusd);
  $("spend-range").textContent = rangeText(span);
  charts.spend.show({
    ...times(span),
    label: `Spend by ${span.step} and ${BY_NAMES[data.by].toLowerCase()}`,
    series: shown.map((one) => ({ name: one.rest ? "All others" : named(one.name), color: one.rest ? REST : colors.get(one.name), values: one.spent_nusd })),
    format: money,
    axis: shortMoney,
    nothing: data.total.attempts ? "All calls of this time were free." : nothingText(),
  });
  const rest = data.series.some((one) => one.rest);
  fill($("spend-rows"), data.rows.length ? spendRows(data.rows, BY_NAMES[data.by], data.total, (name) => colors.get(name) ?? (rest ? REST : ""), data.more_rows) : []);
}

function showTraffic(data) {
  const { total, steps } = data;
  $("volume-total").textContent = count(total.calls);
  charts.volume.show({
    ...times(data.span),
    label: `Requests by ${data.span.step}`,
    series: total.calls ? [
      { name: "Asked a provider", color: "c1", values: steps.map((one) => one.calls - one.hits) },
      { name: "From the cache", color: "c3", values: steps.map((one) => one.hits) },
    ].filter((one) => one.values.some(Boolean)) : [],
    format: count,
    axis: short,
    whole: true,
    nothing: nothingText(),
  });
  const looked = total.hits + total.misses;
  $("cache-total").textContent = percent(total.hits, looked);
  $("cache-saved").textContent = `${money(total.saved_nusd)} saved`;
  charts.cache.show({
    ...times(data.span),
    label: `Cache hit rate by ${data.span.step}`,
    series: looked ? [{ name: "Answered from the cache", color: "c3", values: steps.map((one) => (one.hits + one.misses ? (100 * one.hits) / (one.hits + one.misses) : null)) }] : [],
    format: (value) => percent(value, 100),
    axis: (value) => `${Math.round(value)}%`,
    least: 20,
    nothing: total.calls ? "No request of this time looked in the cache." : nothingText(),
  });
  $("failed-total").textContent = percent(total.failed, total.attempts);
  $("failed-count").textContent = `${count(total.failed)} of ${count(total.attempts)} calls`;
  charts.failed.show({
    ...times(data.span),
    label: `Failed calls by ${data.span.step}`,
    series: total.attempts ? [{ name: "Of the calls to providers", color: "c6", values: steps.map((one) => (one.attempts ? (100 * one.failed) / one.attempts : null)) }] : [],
    format: (value) => percent(value, 100),
    axis: (value) => `${Math.round(value)}%`,
    least: 4,
    nothing: total.calls ? "No provider was asked." : nothingText(),
  });
  const classes = Map.groupBy(data.failures.filter((one) => one.attempts), (one) => one.provider);
  fill($("failures"), data.providers.length === 0 ? [] : table("Failed calls by provider", [
    { name: "Provider", wide: true, of: (row) => el("span", { class: "name" }, named(row.name)) },
    { name: "Calls", number: true, of: (row) => count(row.attempts) },
    { name: "Failed", number: true, of: (row) => percent(row.failed, row.attempts) },
    { name: "Why", wide: true, of: (row) => (classes.get(row.name) ?? []).slice(0, 3).map((one) => `${outcomeName(one.outcome)} ${count(one.attempts)}`).join(" · ") || "–" },
  ], data.providers));
  const requests = data.failures.filter((one) => one.requests);
  fill($("failed-requests"), requests.length ? el("p", { class: "note" }, `Requests without an answer: ${requests.map((one) => `${outcomeName(one.outcome)} ${count(one.requests)}`).join(" · ")}.`) : []);
}

function showSpeed(data) {
  $("speed-total").textContent = duration(data.total.p50_ms);
  $("speed-slow").textContent = data.total.answered ? `19 of 20 within ${duration(data.total.p95_ms)}` : "";
  charts.speed.show({
    ...times(data.span),
    label: `Time to the whole answer by ${data.span.step}`,
    series: data.total.answered ? [
      { name: "p95", color: "c2", values: data.steps.map((one) => one.p95_ms) },
      { name: "p50", color: "c1", values: data.steps.map((one) => one.p50_ms) },
    ] : [],
    format: duration,
    axis: (value) => (value === 0 ? "0" : duration(value)),
    nothing: nothingText(),
  });
  fill($("speeds"), data.deployments.length ? table("Latency by model", [
    { name: "Model", wide: true, of: (row) => [el("span", { class: "name" }, row.model), el("span", { class: "note" }, ` ${row.provider}`)] },
    { name: "Answers", number: true, rare: true, of: (row) => count(row.answered) },
    { name: "p50", number: true, of: (row) => duration(row.p50_ms) },
    { name: "p95", number: true, of: (row) => duration(row.p95_ms) },
    { name: "p99", number: true, of: (row) => duration(row.p99_ms) },
  ], data.deployments.slice(0, 8)) : []);
}

function showRequests(data) {
  const rows = [...data.rows, ...older.flatMap((page) => page.rows)];
  const before = older.length ? older.at(-1).before : data.before;
  const known = new Set();
  const once = rows.filter((row) => !known.has(row.columns.request_id) && known.add(row.columns.request_id));
  fill($("requests"), once.map((row) => request(row, timezone, open)));
  $("requests").hidden = once.length === 0;
  $("requests-nothing").hidden = once.length > 0;
  $("requests-nothing").textContent = onlyFailed().outcome ? "Every request of this time was answered." : nothingText();
  $("older").hidden = !before;
  $("older").onclick = async () => {
    $("older").disabled = true;
    try {
      older.push(await get("requests", { ...picked(), ...onlyFailed(), before }));
      showRequests(data);
    } catch (error) {
      lost(error);
    }
    $("older").disabled = false;
  };
}

function showChoices(data) {
  for (const [name, values] of [["access_key", data.access_keys], ["user", data.users], ["task", data.tasks]]) {
    const chosen = asked.has(name) ? asked.get(name) : NOBODY;
    const list = chosen === NOBODY || values.includes(chosen) ? values : [chosen, ...values];
    fill($(name), el("option", { value: NOBODY }, "All"), list.map((value) => el("option", { value }, named(value))));
    $(name).value = chosen;
    $(`${name}-field`).hidden = list.length < 2 && chosen === NOBODY;
  }
  const narrow = FILTERS.filter((name) => asked.has(name)).length > 0;
  $("clear").hidden = !narrow;
}

function times(span) {
  return { starts: span.starts, name: (start) => stepName(start, span.step), tick: (start) => stepTick(start, span.step) };
}

function rangeText(span) {
  return span.first_day === span.last_day ? date(span.first_day) : `${date(span.first_day)} – ${date(span.last_day)}`;
}

function nothingText() {
  return FILTERS.some((name) => asked.has(name))
    ? "No request of this time matches. Clear the filters, or pick a longer time."
    : lastOverview?.ever_asked === false ? "No request yet. Ask something through `complete`, and it shows here." : "No request in this time. Pick a longer one.";
}

// --- what can be picked --------------------------------------------------------------------------------------

function by() {
  return BY_NAMES[asked.get("by")] ? asked.get("by") : "provider";
}

function onlyFailed() {
  return $("only-failed").checked ? { outcome: "failed" } : {};
}

function pick(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) asked.delete(name);
    else asked.set(name, value);
  }
  const query = asked.toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
  anew();
}

function setUp() {
  for (const [name, chart] of Object.entries(charts)) $(`${name}-chart`).append(chart.element);
  for (const input of document.querySelectorAll("input[name=range]")) {
    input.checked = input.value === (asked.has("first_day") ? "days" : asked.get("range") ?? "30_days");
    input.addEventListener("change", () => {
      $("days").hidden = input.value !== "days";
      if (input.value !== "days") pick({ range: input.value, first_day: null, last_day: null });
      else $("first_day").focus();
    });
  }
  $("days").hidden = !asked.has("first_day");
  for (const name of ["first_day", "last_day"]) {
    $(name).value = asked.get(name) ?? "";
    $(name).addEventListener("change", () => {
      if ($("first_day").value) pick({ range: null, first_day: $("first_day").value, last_day: $("last_day").value || null });
    });
  }
  for (const input of document.querySelectorAll("input[name=by]")) {
    input.checked = input.value === by();
    input.addEventListener("change", () => pick({ by: input.value }));
  }
  for (const name of FILTERS) $(name).addEventListener("change", () => pick({ [name]: $(name).value === NOBODY ? null : $(name).value }));
  $("clear").addEventListener("click", () => pick(Object.fromEntries(FILTERS.map((name) => [name, null]))));
  $("only-failed").addEventListener("change", anew);
  for (const input of document.querySelectorAll("input[name=theme]")) {
    input.checked = input.value === (localStorage.getItem("theme") ?? "auto");
    input.addEventListener("change", () => {
      localStorage.setItem("theme", input.value);
      theme();
    });
  }
  $("sign-out").addEventListener("click", async () => {
    await fetch("sign-out", { method: "POST", credentials: "same-origin" }).catch(lost);
    location.assign("sign-in");
  });
  document.addEventListener("visibilitychange", tick);
  window.addEventListener("online", tick);
}

function theme() {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
}

theme();
setUp();
tick();
