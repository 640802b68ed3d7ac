// What a tool answered, as the dashboard shows it: a view of MCP Apps, inside the frame of a client.

import { Chart } from "./chart.js";
import { el, fill } from "./dom.js";
import { count, date, duration, lastDay, money, named, percent, shortMoney, stepName, stepTick } from "./format.js";
import { COLORS, alerts, budgets, needsCare, providers, spendRows, table, tile } from "./parts.js";

const root = document.getElementById("app");
const unfolded = new Set();
let lastId = 0;

// --- the client around us (spec 2026-01-26 of MCP Apps: JSON-RPC by postMessage) --------------------------------

function send(message) {
  window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
}

function dressed(context) {
  if (context?.theme === "light" || context?.theme === "dark") document.documentElement.dataset.theme = context.theme;
}

window.addEventListener("message", ({ data, source }) => {
  if (source !== window.parent || data?.jsonrpc !== "2.0") return;
  if (data.id === lastId && data.result) {
    dressed(data.result.hostContext);
    send({ method: "ui/notifications/initialized" });
    new ResizeObserver(() => send({
      method: "ui/notifications/size-changed",
      params: { width: root.scrollWidth, height: Math.ceil(root.getBoundingClientRect().height) },
    })).observe(root);
  } else if (data.method === "ui/notifications/tool-result") {
    answered(data.params ?? {});
  } else if (data.method === "ui/notifications/tool-cancelled") {
    fill(root, el("p", { class: "nothing" }, "The call was cancelled."));
  } else if (data.method === "ui/notifications/host-context-changed") {
    dressed(data.params);
  } else if (data.id !== undefined && data.method) {
    send({ id: data.id, ...(["ping", "ui/resource-teardown"].includes(data.method) ? { result: {} } : { error: { code: -32601, message: "Unknown method" } }) });
  }
});

// --- the answers ---------------------------------------------------------------------------------------------

function answered({ structuredContent: answer, content = [], isError }) {
  const text = content.filter((one) => one.type === "text").map((one) => one.text).join(" ");
  const shown = isError || !answer ? [el("p", { class: "problem" }, text)]
    : answer.providers ? shownProviders(answer) : answer.route || answer.excluded ? shownPlan(answer) : answer.total ? shownCosts(answer) : [el("p", {}, text)];
  fill(root, shown, (answer?.notes ?? []).map((note) => el("p", { class: "note" }, note)));
}

const nano = (usd) => Math.round((usd ?? 0) * 1e9);

function panel(title, ...children) {
  return el("section", { class: "panel" }, el("h2", {}, title), el("div", {}, children));
}

function shownCosts(answer) {
  const { total, cache = {}, projection, timezone = "UTC", group_by: by = "", rows = [] } = answer;
  const limits = (answer.budgets ?? []).map((one) => ({
    ...one, limit_nusd: nano(one.limit_usd), spent_nusd: nano(one.spent_usd), held_nusd: nano(one.held_usd), left_nusd: nano(one.left_usd),
  }));
  const month = limits.find((one) => one.holder === "global" && one.period.length === 7);
  const range = answer.first_day ? (answer.first_day === answer.last_day ? date(answer.first_day) : `${date(answer.first_day)} – ${date(answer.last_day)}`) : "all that is on record";
  const tiles = el("div", { class: "tiles" },
    tile({ label: `Spent, ${range}`, value: money(total.spent_nusd), notes: [`${count(total.attempts)} calls, ${percent(total.failed, total.attempts)} failed`] }),
    projection ? tile({ label: "Heading for", value: money(nano(projection.projected_usd)), share: month ? nano(projection.projected_usd) / month.limit_nusd : null, notes: [`by ${lastDay(projection.month)}`] }) : null,
    tile({ label: "Saved by the cache", value: money(nano(cache.saved_usd)), notes: [`${percent(cache.hits, cache.requests)} of ${count(cache.requests ?? 0)} lookups`] }),
  );
  return [
    tiles,
    rows.length ? panel(`By ${by.replace("_", " ")}`, byGroup(rows, by, total, answer.more?.rows)) : null,
    limits.length ? panel("Budgets", budgets(limits)) : null,
    answer.alerts?.length ? panel("Alerts", alerts(answer.alerts.map((one) => ({ ...one, at_ms: Date.parse(one.at) })), timezone)) : null,
  ];
}

function byGroup(rows, by, total, more) {
  if (by === "day" || by === "hour") {
    const chart = new Chart("bars");
    chart.show({
      label: `Spend by ${by}`,
      starts: rows.map((row) => row.group.replace(" ", "T")),
      name: (start) => stepName(start, by),
      tick: (start) => stepTick(start, by),
      series: [{ name: "Spent", color: "c1", values: rows.map((row) => row.spent_nusd) }],
      format: money,
      axis: shortMoney,
      nothing: "Nothing was spent.",
    });
    return chart.element;
  }
  const named = rows.map((row) => ({ ...row, name: row.group, saved_nusd: nano(row.saved_usd) }));
  const colors = new Map(named.map((row, place) => [row.name, COLORS[place] ?? "rest"]));
  return spendRows(named, by[0].toUpperCase() + by.slice(1).replace("_", " "), total, (name) => colors.get(name), more);
}

function shownProviders(answer) {
  const use = (one) => ({
    attempts: one.attempts_7d ?? 0, success: one.success_7d ?? null, median_ms: one.p50_ms ?? null, slow_ms: one.p95_ms ?? null,
    attempts_today: one.attempts_today ?? 0, spent_today_nusd: nano(one.spent_today_usd), last_error: one.last_error ?? "", last_error_ms: Date.parse(one.last_error_at),
  });
  const whole = (one) => ({ ...one, breaker: one.breaker ?? "closed", until_ms: one.until ? Date.parse(one.until) : null, use: use(one) });
  const list = answer.providers.map((one) => ({ ...whole(one), title: one.title ?? one.name, models: (one.models ?? []).map(whole) }));
  const care = list.filter(needsCare);
  const ready = list.filter((one) => one.state === "ready").length;
  return [
    el("div", { class: "tiles" }, tile({
      label: "Providers", value: care.length ? `${count(care.length)} need${care.length === 1 ? "s" : ""} care` : `${count(ready)} ready`,
      tone: care.length || !ready ? "bad" : "good", notes: care.length ? care.map((one) => `${one.title}: ${one.detail}`) : ["Nothing is broken."],
    })),
    el("section", { class: "panel" }, providers(list, "UTC", unfolded)),
  ];
}

function shownPlan(answer) {
  const route = answer.route ?? [];
  const usd = (amount) => (amount === undefined ? "–" : money(nano(amount)));
  return [
    el("div", { class: "tiles" },
      tile({ label: "First asked", value: route[0]?.model ?? "nobody", notes: route[0] ? [route[0].provider, route[0].reason] : ["No model fits."] }),
      tile({ label: "Expected", value: usd(route[0]?.expected_usd), notes: [`at most ${usd(route[0]?.worst_usd)}`] }),
      tile({ label: "Task", value: named(answer.task), notes: [answer.task_reason, answer.rule ? `rule ${answer.rule}` : ""] }),
    ),
    panel("In this order", table("The route", [
      { name: "Deployment", wide: true, of: (one) => [el("span", { class: "name" }, one.model), el("span", { class: "note" }, ` ${one.provider}`)] },
      { name: "Expected", number: true, of: (one) => usd(one.expected_usd) },
      { name: "At most", number: true, of: (one) => usd(one.worst_usd) },
      { name: "Time", number: true, rare: true, of: (one) => duration(one.expected_ms) },
      { name: "Why", wide: true, of: (one) => [one.reason, one.health !== "ok" && one.health].filter(Boolean).join("; ") },
    ], route, "No model fits.")),
    answer.excluded?.length ? panel("Left out", table("Left out", [
      { name: "Deployment", wide: true, of: (one) => el("span", { class: "name" }, one.deployment) },
      { name: "Why", wide: true, of: (one) => one.reason },
    ], answer.excluded)) : null,
  ];
}

lastId = 1;
send({
  id: lastId,
  method: "ui/initialize",
  params: { protocolVersion: "2026-01-26", appInfo: { name: "orchestra", title: "Orchestra", version: "1" }, appCapabilities: { availableDisplayModes: ["inline"] } },
});
