// Numbers and names as people write them. Money comes in billionths of a dollar.

const NUSD = 1e9;

/** Cents for dollars; for less, as many digits as show two of its own: $0.0042. */
export function money(nusd) {
  const usd = nusd / NUSD;
  const size = Math.abs(usd);
  const digits = usd === 0 || size >= 0.1 ? 2 : size >= 0.01 ? 3 : size >= 0.0001 ? 5 : 7;
  return `${usd < 0 ? "−" : ""}$${size.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** For an axis: short, and exact, for its values are round. */
export function shortMoney(nusd) {
  const usd = nusd / NUSD;
  if (usd >= 10_000) return `$${(usd / 1000).toLocaleString("en-US", { maximumFractionDigits: 1 })}k`;
  return `$${usd.toLocaleString("en-US", { maximumSignificantDigits: 3 })}`;
}

export function count(number) {
  return number.toLocaleString("en-US");
}

/** "1 call", "2 calls". */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** 1,234 as it is, 56.7k, 8.9M. */
export function short(number) {
  if (number < 10_000) return count(Math.round(number));
  const [size, unit] = number < 1e6 ? [1e3, "k"] : number < 1e9 ? [1e6, "M"] : [1e9, "B"];
  return `${(number / size).toLocaleString("en-US", { maximumFractionDigits: 1 })}${unit}`;
}

export function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  if (part > 0 && share < 0.1) return "<0.1%";
  return `${share.toLocaleString("en-US", { maximumFractionDigits: share < 10 && share !== Math.round(share) ? 1 : 0 })}%`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  return seconds < 120 ? `${seconds.toLocaleString("en-US", { maximumFractionDigits: seconds < 10 ? 1 : 0 })} s` : `${Math.round(seconds / 60)} min`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const LONG_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/** "2026-11-23" or "2026-11" or "2026-11-23T16:00+0100", as it stands on the clocks there. */
export function date(text) {
  const [year, month, day] = text.slice(0, 10).split("-").map(Number);
  if (text.length > 10) return `${day} ${MONTHS[month - 1]}, ${text.slice(11, 16)}`;
  return day ? `${day} ${MONTHS[month - 1]}` : `${LONG_MONTHS[month - 1]} ${year}`;
}

export function monthName(month) {
  return LONG_MONTHS[Number(month.slice(5, 7)) - 1];
}

export function lastDay(month) {
  const [year, number] = month.split("-").map(Number);
  return `${new Date(Date.UTC(year, number, 0)).getUTCDate()} ${MONTHS[number - 1]}`;
}

/** A step of a chart: an hour, a day or a week. */
export function stepName(start, step) {
  return step === "week" ? `Week of ${date(start)}` : date(start);
}

export function stepTick(start, step) {
  return step === "hour" ? start.slice(11, 16) : date(start);
}

export function when(ms, timezone, now = Date.now()) {
  const options = { timeZone: timezone, hour: "2-digit", minute: "2-digit", hour12: false };
  const day = (at) => new Intl.DateTimeFormat("en-CA", { timeZone: timezone }).format(at);
  const time = new Intl.DateTimeFormat("en-GB", options).format(ms);
  return day(ms) === day(now) ? time : `${date(day(ms))}, ${time}`;
}

const OUTCOMES = {
  ok: "Answered",
  connect_failed: "Could not be reached",
  rate_limited: "Rate limit",
  server_failed: "Server error",
  timeout: "Too slow",
  invalid_answer: "Not an answer",
  stream_broken: "Broke off",
  auth_failed: "Key refused",
  permission_refused: "Not permitted",
  out_of_money: "Out of credit",
  model_gone: "Model gone",
  bad_request: "Malformed request",
  context_too_long: "Prompt too long",
  content_refused: "Content refused",
  cancelled: "Cancelled",
  invalid_request: "Invalid request",
  guardrail_blocked: "Blocked by a guard",
  budget_exceeded: "Over budget",
  no_route: "No model fits",
  cache_miss: "Not in the cache",
  batch_failed: "Batch failed",
  deadline_exceeded: "Out of time",
  all_attempts_failed: "All attempts failed",
  internal: "Internal error",
  store: "Database trouble",
};

export function outcomeName(code) {
  return OUTCOMES[code] ?? (code || "Unknown");
}

const CACHE = { HIT: "Same question", "SEMANTIC HIT": "Same meaning", MISS: "Not cached", "SEMANTIC MISS": "Not cached", REFRESH: "Refreshed", DISABLED: "Cache off" };

export function cacheName(status) {
  return CACHE[status] ?? status;
}

/** "key:team" as "key team"; everyone's as such. */
export function holderName(holder) {
  if (holder === "global") return "Everyone";
  const [kind, ...rest] = holder.split(":");
  return rest.length ? `${kind[0].toUpperCase()}${kind.slice(1)} ${rest.join(":")}` : holder;
}

export function named(name, nothing = "(none)") {
  return name || nothing;
}
