// Elements made by hand. Text goes in as text nodes only, so nothing that comes from data ever becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `attributes` are strings and numbers, `true` for an empty one; false, null and undefined leave it out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put `children` in the place of what `parent` holds. What had the focus, by its `data-key`, has it again. */
export function fill(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (focused !== undefined) {
    const again = [...parent.querySelectorAll("[data-key]")].find((element) => element.dataset.key === focused);
    again?.focus({ preventScroll: true });
  }
}

/** Room for what may be wider or longer than there is place. The keyboard can scroll it where that is so. */
export function scrolling(label, ...children) {
  const room = el("div", { class: "scrolls" }, children);
  new ResizeObserver(() => {
    const scrolls = room.scrollWidth > room.clientWidth || room.scrollHeight > room.clientHeight;
    for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", label]]) {
      if (scrolls) room.setAttribute(name, value);
      else room.removeAttribute(name);
    }
  }).observe(room);
  return room;
}

/** What only a screen reader says. */
export function spoken(text) {
  return el("span", { class: "spoken" }, text);
}
