/** The three planes side by side, one of them large, with windows, switches and keys. */

import { BoxEditor } from "./box_editor.js";
import { button, element } from "./dom.js";
import { Plane } from "./plane.js";
import { PLANES } from "./session.js";
import { SliceImages } from "./slice_images.js";

const PAGE = 10;

export class Viewer {
  /**
   * @param {HTMLElement} root
   * @param {import("./session.js").Session} session
   */
  constructor(root, session) {
    this.root = root;
    this.session = session;
    this.images = new SliceImages(() => Object.values(this.planes).forEach((plane) => plane.draw()));
    this.planes = Object.fromEntries(Object.keys(PLANES).map((name) => [name, new Plane(name, session, this.images)]));
    this.boxes = new BoxEditor(session, this.planes.axial);
    this.#build();
    this.enlarge("axial");
    session.addEventListener("changed", () => this.#show());
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  #build() {
    this.tabs = Object.entries(PLANES).map(([name, { title }]) =>
      button(title, () => this.enlarge(name), { class: "choice", data: { plane: name } }),
    );
    this.windows = this.session.windows.map((window) =>
      button(window.name, () => this.session.setWindow(window), { class: "choice", title: `${window.low} to ${window.high} HU` }),
    );
    this.maskSwitch = button("Mask", () => this.session.showMasks(!this.session.masksShown), { class: "choice", title: "Key B" });
    this.keyButton = button("Key slice", () => this.session.showKeySlice(), { class: "choice", title: "Key K" });
    for (const plane of Object.values(this.planes)) {
      const enlarge = button("Enlarge", () => this.enlarge(plane.name), { class: "enlarge", "aria-label": `Enlarge ${plane.name}` });
      plane.head.append(enlarge);
      plane.root.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.#activate(plane.name));
      plane.root.addEventListener("focusin", () => this.#activate(plane.name));
    }
    const group = (label, name, buttons) => element("div", { class: `group ${name}`, role: "group", "aria-label": label }, ...buttons);
    this.root.append(
      element(
        "div",
        { class: "tools" },
        group("Plane", "tabs", this.tabs),
        group("Window", "windows", this.windows),
        group("Show", "switches", [this.maskSwitch, this.keyButton]),
      ),
      element("div", { class: "planes" }, ...Object.values(this.planes).map((plane) => plane.root)),
      help(),
    );
  }

  /** Makes a plane the large one; on a phone the only one. */
  enlarge(name) {
    this.large = name;
    for (const [each, plane] of Object.entries(this.planes)) plane.root.classList.toggle("is-large", each === name);
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", String(tab.dataset.plane === name));
    this.#activate(name);
  }

  #activate(name) {
    this.active = name;
    for (const [each, plane] of Object.entries(this.planes)) plane.root.classList.toggle("is-active", each === name);
  }

  #show() {
    const { window, windows, masksShown, draft } = this.session;
    this.windows.forEach((one, index) => one.setAttribute("aria-pressed", String(windows[index] === window)));
    this.maskSwitch.setAttribute("aria-pressed", String(masksShown));
    this.keyButton.disabled = draft.key_slice === null;
  }

  #onKey(event) {
    const isTyping = event.target.closest("input, textarea, select, dialog");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !this.session.study) return;
    const plane = this.planes[this.active];
    const last = this.session.study.shape[plane.geometry.through] - 1;
    const actions = {
      ArrowUp: () => plane.step(1),
      ArrowRight: () => plane.step(1),
      ArrowDown: () => plane.step(-1),
      ArrowLeft: () => plane.step(-1),
      PageUp: () => plane.step(PAGE),
      PageDown: () => plane.step(-PAGE),
      Home: () => plane.moveTo(0),
      End: () => plane.moveTo(last),
      b: () => this.session.showMasks(!this.session.masksShown),
      k: () => this.session.showKeySlice(),
      Escape: this.boxes.isDrawing ? () => this.boxes.startDrawing(false) : null,
    };
    const window = this.session.windows[Number(event.key) - 1];
    const action = window ? () => this.session.setWindow(window) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

function help() {
  const keys = [
    ["↑ ↓", "slice"],
    ["PgUp PgDn", "ten slices"],
    ["1–4", "window"],
    ["B", "mask"],
    ["K", "key slice"],
  ];
  return element(
    "p",
    { class: "help" },
    ...keys.map(([key, does]) => element("span", {}, element("kbd", {}, key), ` ${does}`)),
    element("span", {}, "Click or drag: crosshair"),
  );
}
