/** The boxes on the key slice: dragged, resized, drawn and deleted, by pointer and by keys. */

import { button, element, replaceChildren } from "./dom.js";
import { ARROWS, followDrag } from "./pointers.js";

const CORNERS = { nw: [0, 1], ne: [2, 1], sw: [0, 3], se: [2, 3] };
const CLICKED_BOX_SHARE = 1 / 8;
const CLICK_PX = 4;

export class BoxEditor {
  #dragged = false;

  /**
   * @param {import("./session.js").Session} session
   * @param {import("./plane.js").Plane} plane the axial one.
   */
  constructor(session, plane) {
    this.session = session;
    this.plane = plane;
    this.isDrawing = false;
    this.layer = element("div", { class: "boxes" });
    plane.stage.append(this.layer);
    this.layer.addEventListener("pointerdown", (event) => this.isDrawing && this.#drawBox(event));
    session.addEventListener("moved", () => this.show());
    session.addEventListener("changed", () => this.show());
    new ResizeObserver(() => this.show()).observe(plane.stage);
  }

  /** The next drag on the axial picture becomes a box. */
  startDrawing(isDrawing = true) {
    this.isDrawing = isDrawing;
    this.session.correct({}); // those who show whether a box is being drawn are told
  }

  /** A box around the crosshair, for those who draw without a pointer. */
  addAtCrosshair() {
    const [x, y] = this.session.position;
    this.#add([x, y, x, y]);
  }

  show() {
    this.layer.classList.toggle("is-drawing", this.isDrawing);
    if (this.#dragged) return;
    const boxes = this.session.isKeySliceShown ? this.session.draft.boxes : [];
    const layout = boxes.length ? this.plane.layout() : null;
    replaceChildren(this.layer, ...boxes.map((box, index) => this.#boxElement(box, index, layout)));
  }

  #boxElement(box, index, layout) {
    const label = `Box ${index + 1} of ${this.session.draft.boxes.length}. Arrows move it, with Shift they resize it, Delete removes it.`;
    const made = element(
      "div",
      { class: "box", tabIndex: 0, role: "group", "aria-label": label, data: { focus: `box ${index}` } },
      ...Object.keys(CORNERS).map((corner) => element("span", { class: `corner corner-${corner}`, data: { corner } })),
      button("×", () => this.#remove(index), { class: "box-delete", "aria-label": `Delete box ${index + 1}` }),
    );
    place(made, box, layout);
    made.addEventListener("pointerdown", (event) => this.#drag(event, made, index));
    made.addEventListener("keydown", (event) => this.#onKey(event, index));
    return made;
  }

  #drag(event, made, index) {
    if (this.isDrawing || event.button !== 0 || event.target.closest("button")) return;
    event.preventDefault();
    event.stopPropagation();
    made.focus();
    const corner = CORNERS[event.target.dataset.corner];
    const from = this.plane.pictureXY(event);
    const before = this.session.draft.boxes[index];
    this.#dragged = true;
    followDrag(event, made, this.plane.stage, (move, state) => {
      const to = this.plane.pictureXY(move);
      const shift = [to[0] - from[0], to[1] - from[1]];
      const box = corner ? resized(before, corner, shift) : this.#moved(before, shift);
      const isKept = state === "lost" || !shift.some(Boolean); // to the digit: the model's boxes have fractions
      this.#dragged = state === "held";
      this.#replace(index, isKept ? before : this.session.fitted(box));
      place(made, this.session.draft.boxes[index], this.plane.layout());
    });
  }

  #drawBox(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    const [x, y] = this.plane.pictureXY(event);
    const rubber = element("div", { class: "box" });
    this.layer.append(rubber);
    this.#dragged = true;
    followDrag(event, this.layer, this.plane.stage, (move, state) => {
      const [toX, toY] = this.plane.pictureXY(move);
      place(rubber, [Math.min(x, toX), Math.min(y, toY), Math.max(x, toX), Math.max(y, toY)], this.plane.layout());
      if (state === "held") return;
      this.#dragged = false;
      if (state === "lost") return this.show();
      const isClick = Math.hypot(move.clientX - event.clientX, move.clientY - event.clientY) < CLICK_PX;
      this.#add(isClick ? [x, y, x, y] : [x, y, toX, toY]);
    });
  }

  #onKey(event, index) {
    const arrow = ARROWS[event.key];
    if (!arrow && event.key !== "Delete" && event.key !== "Backspace") return;
    event.preventDefault();
    event.stopPropagation();
    if (!arrow) return this.#remove(index);
    const box = this.session.draft.boxes[index];
    this.#replace(index, this.session.fitted(event.shiftKey ? resized(box, CORNERS.se, arrow) : this.#moved(box, arrow)));
  }

  /** Adds a box on the slice that is looked at, or on the nearest that can be the key slice. */
  #add(box) {
    this.isDrawing = false;
    const { draft, position, study } = this.session;
    const isKeySlice = draft.key_slice === position[2];
    const key = isKeySlice ? draft.key_slice : this.session.nearestShownSlice(position[2]);
    const [left, top, right, bottom] = study.shown.crop;
    const half = [(right - left) * CLICKED_BOX_SHARE / 2, (bottom - top) * CLICKED_BOX_SHARE / 2];
    const isPoint = box[0] === box[2] && box[1] === box[3];
    const drawn = isPoint ? [box[0] - half[0], box[1] - half[1], box[2] + half[0], box[3] + half[1]] : box;
    const added = this.session.fitted(drawn);
    const [boxes, points] = isKeySlice ? [draft.boxes, draft.points] : [[], []];
    this.session.correct({ key_slice: key, boxes: [...boxes, added], points: [...points, []] });
    this.session.move({ 2: key });
    [...this.layer.querySelectorAll(".box")].at(-1)?.focus();
  }

  #replace(index, box) {
    this.session.correct({ boxes: this.session.draft.boxes.map((one, at) => (at === index ? box : one)) });
  }

  #remove(index) {
    const { boxes, points } = this.session.draft;
    this.session.correct({ boxes: boxes.toSpliced(index, 1), points: points.toSpliced(index, 1) });
  }

  /** Moved as a whole: at the border of what the model sees it stops and keeps its size. */
  #moved([x1, y1, x2, y2], [shiftX, shiftY]) {
    const [left, top, right, bottom] = this.session.study.shown.crop;
    const x = Math.min(Math.max(shiftX, left - x1), right - x2);
    const y = Math.min(Math.max(shiftY, top - y1), bottom - y2);
    return [x1 + x, y1 + y, x2 + x, y2 + y];
  }
}

function resized(box, [column, row], [shiftX, shiftY]) {
  const changed = [...box];
  changed[column] += shiftX;
  changed[row] += shiftY;
  return changed;
}

function place(made, [x1, y1, x2, y2], { left, top, scaleX, scaleY }) {
  made.style.left = `${left + x1 * scaleX}px`;
  made.style.top = `${top + y1 * scaleY}px`;
  made.style.width = `${(x2 - x1) * scaleX}px`;
  made.style.height = `${(y2 - y1) * scaleY}px`;
}
