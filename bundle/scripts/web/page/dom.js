/** Elements of the page. Text becomes a text node, whatever it says: nothing here, or elsewhere, parses HTML. */

/**
 * An element with properties and children.
 * @param {string} tag
 * @param {object} properties `class`, `data` (an object), listeners (`onclick`), ARIA attributes, or properties.
 * @param {...(Node|string|number|null|false)} children null and false are left out.
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name.startsWith("aria-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== false).map(asNode));
  return made;
}

export function button(label, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, label);
}

/** Replaces the children of `root`; what had the focus keeps it, told by `data-focus`. */
export function replaceChildren(root, ...children) {
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  root.replaceChildren(...children.filter((child) => child !== null && child !== false).map(asNode));
  if (focused === undefined) return;
  [...root.querySelectorAll("[data-focus]")].find((one) => one.dataset.focus === focused)?.focus({ preventScroll: true });
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
