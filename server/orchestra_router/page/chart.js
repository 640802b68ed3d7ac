// Charts in SVG. Each is a picture for who sees it, a slider for the keyboard and the screen reader, and a table.

import { el, fill, scrolling, svg } from "./dom.js";

const HEIGHT = 220;
const TOP = 12;
const BOTTOM = 26;
const LEFT = 52;
const RIGHT = 4;
const PLOT = HEIGHT - TOP - BOTTOM;

/**
 * A chart of `kind` "bars" (stacked) or "lines". Call `show` with
 *   { label, starts, name(start), tick(start), series: [{ name, color, values }], format, axis, least, whole, nothing }
 * where a value may be null in lines, `least` is how far the axis goes at least, `whole` says that there are no parts of
 * one, and `nothing` is said when there is nothing to draw.
 */
export class Chart {
  constructor(kind) {
    this.kind = kind;
    this.at = null;
    this.picture = svg("svg", { class: "picture", "aria-hidden": "true", focusable: "false" });
    this.tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    this.stage = el("div", {
      class: "stage", role: "slider", tabindex: "0", "aria-valuemin": "0",
      onkeydown: (event) => this.move(event),
      onpointermove: (event) => this.point(event),
      onpointerdown: (event) => this.point(event),
      onpointerleave: () => this.pick(null),
      onfocus: () => this.stage.matches(":focus-visible") && this.pick(this.at ?? this.last()),
      onblur: () => this.pick(null),
    }, this.picture, this.tip);
    this.legend = el("ul", { class: "legend" });
    this.table = el("div");
    this.nothing = el("p", { class: "nothing", hidden: true });
    this.details = el("details", { class: "as-table" }, el("summary", { "data-key": "table" }, "Show as a table"), this.table);
    this.element = el("figure", { class: "chart" }, this.legend, this.stage, this.nothing, this.details);
    new ResizeObserver(() => this.data && this.draw()).observe(this.element);
  }

  show(data) {
    this.data = data;
    const empty = data.series.length === 0 || data.starts.length === 0;
    this.stage.hidden = this.legend.hidden = this.details.hidden = empty;
    this.nothing.hidden = !empty;
    this.nothing.textContent = data.nothing;
    if (empty) return;
    this.at = this.at === null ? null : Math.min(this.at, this.last());
    this.stage.setAttribute("aria-label", `${data.label}. Arrow keys pick a time`);
    this.stage.setAttribute("aria-valuemax", String(this.last()));
    this.say(this.at ?? this.last());
    fill(this.legend, data.series.map((one) => el("li", {}, swatch(one.color, this.kind), one.name)));
    this.draw();
    this.listTable();
  }

  last() {
    return this.data.starts.length - 1;
  }

  draw() {
    const width = Math.max(240, this.stage.clientWidth);
    const { starts, series, axis } = this.data;
    const top = niceTop(Math.max(this.highest(), this.data.least ?? 0), this.data.whole);
    const y = (value) => TOP + PLOT * (1 - value / top);
    const band = (width - LEFT - RIGHT) / starts.length;
    const middle = (place) => LEFT + band * (place + 0.5);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.picture.setAttribute("width", String(width));
    this.picture.setAttribute("height", String(HEIGHT));
    const lines = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top).map((value) => [
      svg("line", { class: value === 0 ? "base" : "rule", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, axis(value)),
    ]);
    const every = Math.max(1, Math.ceil(starts.length / Math.max(2, Math.floor((width - LEFT) / 78))));
    const days = starts.map((start, place) => {
      if (place % every !== 0) return null;
      const text = this.data.tick(start);
      const x = Math.min(middle(place), width - RIGHT - text.length * 3.4);
      return svg("text", { class: "tick", x, y: HEIGHT - 8, "text-anchor": "middle" }, text);
    });
    this.cursor = svg("rect", { class: "cursor", y: TOP, height: PLOT, width: band, x: 0, visibility: "hidden" });
    const marks = this.kind === "bars" ? this.bars(series, y, band, middle) : this.lines(series, y, middle);
    fill(this.picture, lines, this.cursor, days, marks);
    this.middle = middle;
    this.band = band;
    this.width = width;
    if (this.at !== null && !this.tip.hidden) this.pick(this.at);
  }

  bars(series, y, band, middle) {
    const thick = Math.max(1, Math.min(36, band - Math.max(1, band * 0.22)));
    return this.data.starts.map((_, place) => {
      let sum = 0;
      return series.map((one) => {
        const value = one.values[place];
        if (!value) return null;
        const [low, high] = [y(sum), y(sum + value)];
        sum += value;
        // A hair of the surface between two colours tells them apart without the colours.
        const height = Math.max(0.75, low - high - (low - high > 3 ? 1 : 0));
        return svg("rect", { class: `mark ${one.color}`, x: middle(place) - thick / 2, width: thick, y: low - height, height });
      });
    });
  }

  lines(series, y, middle) {
    return series.map((one) => {
      let path = "";
      let open = false;
      const alone = [];
      one.values.forEach((value, place) => {
        if (value === null) {
          open = false;
          return;
        }
        path += `${open ? "L" : "M"}${middle(place).toFixed(1)} ${y(value).toFixed(1)}`;
        open = true;
        alone.push(svg("circle", { class: `dot ${one.color}`, cx: middle(place), cy: y(value), r: one.values.length > 40 ? 1.5 : 2.5 }));
      });
      return [svg("path", { class: `line ${one.color}`, d: path }), alone];
    });
  }

  highest() {
    const { series, starts } = this.data;
    if (this.kind === "bars") {
      return Math.max(...starts.map((_, place) => series.reduce((sum, one) => sum + (one.values[place] ?? 0), 0)));
    }
    return Math.max(...series.flatMap((one) => one.values.map((value) => value ?? 0)));
  }

  // --- one time of it ----------------------------------------------------------------------------------------

  point(event) {
    const box = this.stage.getBoundingClientRect();
    const place = Math.floor((event.clientX - box.left - LEFT) / this.band);
    this.pick(place >= 0 && place <= this.last() ? place : null);
  }

  move(event) {
    const now = this.at ?? this.last();
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - 7, PageUp: now + 7, Home: 0, End: this.last() }[event.key];
    if (event.key === "Escape") this.pick(null);
    if (to === undefined) return;
    event.preventDefault();
    this.pick(Math.max(0, Math.min(this.last(), to)));
  }

  pick(place) {
    if (place === null) {
      this.tip.hidden = true;
      this.cursor?.setAttribute("visibility", "hidden");
      return;
    }
    this.at = place;
    this.say(place);
    this.cursor.setAttribute("visibility", "visible");
    this.cursor.setAttribute("x", String(this.middle(place) - this.band / 2));
    fill(this.tip, el("strong", {}, this.data.name(this.data.starts[place])), el("dl", {}, this.figures(place).map(([name, value, color]) => [
      el("dt", {}, color ? swatch(color, this.kind) : null, name), el("dd", {}, value),
    ])));
    this.tip.hidden = false;
    const x = this.middle(place);
    const left = x > this.width / 2 ? x - this.band / 2 - this.tip.offsetWidth - 8 : x + this.band / 2 + 8;
    this.tip.style.left = `${Math.max(0, Math.min(this.width - this.tip.offsetWidth, left))}px`;
  }

  say(place) {
    this.stage.setAttribute("aria-valuenow", String(place));
    const figures = this.figures(place).map(([name, value]) => `${name} ${value}`).join(", ");
    this.stage.setAttribute("aria-valuetext", `${this.data.name(this.data.starts[place])}: ${figures}`);
  }

  figures(place) {
    const { series, format } = this.data;
    const rows = series.filter((one) => one.values[place]).map((one) => [one.name, format(one.values[place]), one.color]);
    if (rows.length === 0) return [["Nothing", "", ""]];
    if (this.kind !== "bars" || rows.length < 2) return rows;
    const sum = series.reduce((all, one) => all + (one.values[place] ?? 0), 0);
    return [["Total", format(sum), ""], ...rows];
  }

  listTable() {
    const { label, starts, name, series, format } = this.data;
    const head = el("tr", {}, el("th", { scope: "col" }, "Time"), series.map((one) => el("th", { scope: "col", class: "number" }, one.name)));
    const rows = starts.map((start, place) => el("tr", {}, el("th", { scope: "row" }, name(start)), series.map((one) => (
      el("td", { class: "number" }, one.values[place] === null ? "–" : format(one.values[place] ?? 0))
    ))));
    fill(this.table, scrolling(label, el("table", {}, el("caption", { class: "spoken" }, label), el("thead", {}, head), el("tbody", {}, rows.reverse()))));
  }
}

export function swatch(color, kind = "bars") {
  return el("span", { class: `swatch ${kind} ${color}`, "aria-hidden": "true" });
}

/** Where an axis ends that reaches `value` and has four equal steps, all of them round, or whole numbers. */
function niceTop(value, whole) {
  if (!(value > 0)) return whole ? 4 : 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const tops = [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, 12].map((many) => Math.round(many * power * 1e9) / 1e9);
  return tops.find((top) => top >= value * 0.999 && (!whole || top % 4 === 0)) ?? 4 * Math.ceil(value / 4);
}
