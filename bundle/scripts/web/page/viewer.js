/** The three planes side by side, one of them large, with windows, switches and keys. */

import { BoxEditor } from "./box_editor.js";
import { button, element, replaceChildren } from "./dom.js";
import { Plane } from "./plane.js";
import { PointEditor } from "./point_editor.js";
import { PLANES } from "./session.js";
import { SliceImages } from "./slice_images.js";

const PAGE = 10;
const ZOOM_STEP = 1.4;

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
    this.points = new PointEditor(session, this.planes.axial);
    this.#build();
    this.enlarge("axial");
    session.addEventListener("changed", () => this.#show());
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  #build() {
    this.tabs = Object.entries(PLANES).map(([name, { title }]) =>
      button(title, () => this.enlarge(name), { class: "choice", data: { plane: name } }),
    );
    this.windows = element("div", { class: "group windows", role: "group", "aria-label": "Window" });
    this.maskSwitch = button("Mask", () => this.session.showMasks(!this.session.masksShown), { class: "choice", title: "Key B" });
    this.keyButton = button("Key slice", () => this.session.showKeySlice(), { class: "choice", title: "Key K" });
    for (const plane of Object.values(this.planes)) {
      const enlarge = button("Enlarge", () => this.enlarge(plane.name), { class: "enlarge", "aria-label": `Enlarge ${plane.name}` });
      plane.head.append(enlarge);
      plane.root.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.#activate(plane.name));
      plane.root.addEventListener("focusin", () => this.#activate(plane.name));
    }
    const group = (label, name, buttons) => element("div", { class: `group ${name}`, role: "group", "aria-label": label }, ...buttons);
    const planes = element("div", { class: "planes" }, ...Object.values(this.planes).map((plane) => plane.root));
    // On its way to the panel the mouse crosses the small planes; keys are not to move those then.
    planes.addEventListener("pointerleave", () => this.#activate(this.large));
    this.root.append(
      element(
        "div",
        { class: "tools" },
        group("Plane", "tabs", this.tabs),
        this.windows,
        group("Show", "switches", [this.maskSwitch, this.keyButton]),
      ),
      planes,
      help(),
    );
  }

  /** For another study: nothing of the last one is kept. */
  reset() {
    this.images.forget();
    for (const plane of Object.values(this.planes)) plane.showWhole();
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
    const choices = windows.map((one) =>
      button(one.name, () => this.session.setWindow(one), {
        class: "choice",
        title: `${one.low} to ${one.high}`,
        "aria-pressed": String(one === window),
        data: { focus: one.name },
      }),
    );
    replaceChildren(this.windows, ...choices);
    this.maskSwitch.setAttribute("aria-pressed", String(masksShown));
    this.keyButton.disabled = draft.key_slice === null;
  }

  /** Ends what is being added to the evidence; null where nothing is. */
  #stopAdding() {
    if (this.boxes.isDrawing) return () => this.boxes.startDrawing(false);
    return this.points.isSetting ? () => this.points.startSetting(false) : null;
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
      "+": () => plane.zoom(ZOOM_STEP),
      "-": () => plane.zoom(1 / ZOOM_STEP),
      0: () => plane.showWhole(),
      Home: () => plane.moveTo(0),
      End: () => plane.moveTo(last),
      b: () => this.session.showMasks(!this.session.masksShown),
      k: () => this.session.showKeySlice(),
      Escape: this.#stopAdding(),
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
    ["+ − 0", "zoom"],
  ];
  return element(
    "p",
    { class: "help" },
    ...keys.map(([key, does]) => element("span", {}, element("kbd", {}, key), ` ${does}`)),
    element("span", {}, "Click or drag: crosshair"),
  );
}
