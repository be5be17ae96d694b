/** The points of boxes on the key slice: set, dragged and deleted, by pointer and by keys. */

import { button, element, replaceChildren } from "./dom.js";
import { ARROWS, followDrag } from "./pointers.js";

export class PointEditor {
  #dragged = false;

  /**
   * @param {import("./session.js").Session} session
   * @param {import("./plane.js").Plane} plane the axial one.
   */
  constructor(session, plane) {
    this.session = session;
    this.plane = plane;
    this.isSetting = false;
    this.layer = element("div", { class: "points" });
    plane.stage.append(this.layer);
    this.layer.addEventListener("pointerdown", (event) => this.isSetting && event.button === 0 && this.#add(plane.pictureXY(event)));
    session.addEventListener("moved", () => this.show());
    session.addEventListener("changed", () => this.show());
    new ResizeObserver(() => this.show()).observe(plane.stage);
  }

  /** The next press inside a box sets a point. */
  startSetting(isSetting = true) {
    this.isSetting = isSetting;
    this.session.correct({}); // those who show whether a point is being set are told
  }

  /** In the middle of the voxel at the crosshair, for those who set it without a pointer. */
  addAtCrosshair() {
    this.#add(this.session.position.slice(0, 2).map((index) => index + 0.5));
  }

  show() {
    this.layer.classList.toggle("is-setting", this.isSetting);
    if (this.#dragged) return;
    const { draft, isKeySliceShown } = this.session;
    const layout = isKeySliceShown ? this.plane.layout() : null;
    const shown = isKeySliceShown ? draft.points.flatMap((points, box) => points.map((point, index) => ({ point, box, index }))) : [];
    replaceChildren(this.layer, ...shown.map((one) => this.#pointElement(one, layout)));
  }

  #pointElement({ point, box, index }, layout) {
    const name = `point ${index + 1} of box ${box + 1}`;
    const made = element(
      "div",
      { class: "point", tabIndex: 0, role: "group", "aria-label": `P${name.slice(1)}. Arrows move it, Delete removes it.`, data: { focus: name } },
      button("×", () => this.#replace(box, index, []), { class: "point-delete", "aria-label": `Delete ${name}` }),
    );
    place(made, point, layout);
    made.addEventListener("pointerdown", (event) => this.#drag(event, made, box, index));
    made.addEventListener("keydown", (event) => this.#onKey(event, box, index));
    return made;
  }

  #drag(event, made, box, index) {
    if (event.button !== 0 || event.target.closest("button")) return;
    event.preventDefault();
    event.stopPropagation();
    made.focus();
    const from = this.plane.pictureXY(event);
    const before = this.session.draft.points[box][index];
    this.#dragged = true;
    followDrag(event, made, this.plane.stage, (move, state) => {
      const to = this.plane.pictureXY(move);
      const shift = [to[0] - from[0], to[1] - from[1]];
      this.#dragged = state === "held";
      const isKept = state === "lost" || !shift.some(Boolean);
      this.#replace(box, index, [isKept ? before : this.#moved(before, shift, box)]);
      place(made, this.session.draft.points[box][index], this.plane.layout());
    });
  }

  #onKey(event, box, index) {
    const arrow = ARROWS[event.key];
    if (!arrow && event.key !== "Delete" && event.key !== "Backspace") return;
    event.preventDefault();
    event.stopPropagation();
    this.#replace(box, index, arrow ? [this.#moved(this.session.draft.points[box][index], arrow, box)] : []);
  }

  /** Of the smallest box that holds it; where none does, it is still to be set. */
  #add(point) {
    const { boxes, points } = this.session.draft;
    const holders = boxes.flatMap((box, at) => (isInside(point, box) ? [at] : []));
    if (!holders.length) return;
    const holder = holders.reduce((best, one) => (areaOf(boxes[one]) < areaOf(boxes[best]) ? one : best));
    this.isSetting = false;
    this.session.correct({ points: points.map((of, at) => (at === holder ? [...of, point] : of)) });
    [...this.layer.querySelectorAll(".point")].find((one) => one.dataset.focus === `point ${points[holder].length + 1} of box ${holder + 1}`)?.focus();
  }

  /** Another point, or none, in the place of one. */
  #replace(box, index, others) {
    this.session.correct({ points: this.session.draft.points.map((of, at) => (at === box ? of.toSpliced(index, 1, ...others) : of)) });
  }

  #moved([x, y], [shiftX, shiftY], box) {
    const [left, top, right, bottom] = this.session.draft.boxes[box];
    return [Math.min(Math.max(x + shiftX, left), right), Math.min(Math.max(y + shiftY, top), bottom)];
  }
}

const isInside = ([x, y], [x1, y1, x2, y2]) => x1 <= x && x <= x2 && y1 <= y && y <= y2;
const areaOf = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

function place(made, [x, y], { left, top, scaleX, scaleY }) {
  made.style.left = `${left + x * scaleX}px`;
  made.style.top = `${top + y * scaleY}px`;
}
