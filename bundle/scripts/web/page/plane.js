/** One of the three planes: its picture, masks, crosshair, slider. */

import { path } from "./calls.js";
import { element } from "./dom.js";
import { followPointers } from "./pointers.js";
import { PLANES } from "./session.js";
import { tinted } from "./slice_images.js";
import { Zoom } from "./zoom.js";

const CROSSHAIR = "rgba(255, 255, 255, 0.42)";
const KEY_SLICE = "#f5a623"; // --accent of style.css
const PREFETCHED = 10;
const GAP_PX = 9;

export class Plane {
  #direction = 1;
  #frame = 0;
  #zoom = new Zoom();

  /**
   * @param {"axial"|"coronal"|"sagittal"} name
   * @param {import("./session.js").Session} session
   * @param {import("./slice_images.js").SliceImages} images
   */
  constructor(name, session, images) {
    this.name = name;
    this.geometry = PLANES[name];
    this.session = session;
    this.images = images;
    this.#build();
    session.addEventListener("moved", () => this.draw());
    session.addEventListener("changed", () => this.draw());
  }

  get index() {
    return this.session.position[this.geometry.through];
  }

  #build() {
    const { title, marks } = this.geometry;
    this.canvas = element("canvas");
    this.stage = element(
      "div",
      { class: "stage", data: { plane: this.name } },
      this.canvas,
      ...marks.map((mark, place) => element("span", { class: `mark mark-${place}`, "aria-hidden": "true" }, mark)),
    );
    this.number = element("output", { class: "slice-number" });
    this.marks = element("div", { class: "extents", "aria-hidden": "true" });
    this.slider = element("input", { type: "range", min: 0, step: 1, "aria-label": `${title} slice` });
    this.slider.oninput = () => this.moveTo(Number(this.slider.value));
    this.head = element("div", { class: "plane-head" }, element("h2", {}, title), this.number);
    this.root = element(
      "figure",
      { class: "plane", data: { plane: this.name } },
      this.head,
      this.stage,
      element("div", { class: "slider" }, this.marks, this.slider),
    );
    followPointers(this);
    new ResizeObserver(() => this.draw()).observe(this.stage);
  }

  moveTo(index) {
    this.#direction = index < this.index ? -1 : 1;
    this.session.move({ [this.geometry.through]: index });
  }

  step(count) {
    this.moveTo(this.index + count);
  }

  /** Sets the crosshair to what is under a pointer. */
  point(event) {
    const [column, row] = this.pictureXY(event).map(Math.floor);
    const { across, down, flipped } = this.geometry;
    this.session.move({ [across]: column, [down]: flipped ? this.session.study.shape[down] - 1 - row : row });
  }

  /** Where the picture lies on the stage: offsets, and CSS pixels a picture pixel, for both directions. */
  layout() {
    const { across, down } = this.geometry;
    const { shape, spacing_mm: spacing } = this.session.study;
    const { clientWidth: width, clientHeight: height } = this.stage;
    const perMm = Math.min(width / (shape[across] * spacing[across]), height / (shape[down] * spacing[down]));
    const [scaleX, scaleY] = [perMm * spacing[across], perMm * spacing[down]];
    const whole = { scaleX, scaleY, left: (width - scaleX * shape[across]) / 2, top: (height - scaleY * shape[down]) / 2 };
    return this.#zoom.applied(whole, [width, height]);
  }

  get #size() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  /** Zooms in or out, around the middle or a pointer. */
  zoom(by, point = this.#size.map((length) => length / 2)) {
    this.#zoom.around(point, by, this.#size);
    this.session.move({}); // what is drawn on the picture follows
  }

  /** Shifts a picture that is zoomed. */
  pan(by) {
    this.#zoom.pan(by, this.#size);
    this.session.move({});
  }

  showWhole() {
    this.#zoom.reset();
    this.session.move({});
  }

  /** Picture coordinates, in pixels with fractions, of a pointer's place. */
  pictureXY(event) {
    const { left, top, scaleX, scaleY } = this.layout();
    const [x, y] = this.stageXY(event);
    return [(x - left) / scaleX, (y - top) / scaleY];
  }

  stageXY({ clientX, clientY }) {
    const frame = this.stage.getBoundingClientRect();
    return [clientX - frame.left, clientY - frame.top];
  }

  /** Draws with the next frame of the screen. */
  draw() {
    if (!this.session.study || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.session.study && this.stage.clientWidth) this.#draw();
    });
  }

  #draw() {
    const { shape } = this.session.study;
    const last = shape[this.geometry.through] - 1;
    this.slider.max = last;
    this.slider.value = this.index;
    this.slider.setAttribute("aria-valuetext", `slice ${this.index + 1} of ${last + 1}`);
    this.number.textContent = `${this.index + 1} / ${last + 1}`;
    this.#drawExtents(last);
    const grey = this.images.get(this.#sliceUrl(this.index));
    this.#prefetch();
    if (!grey) return; // what is there stays until the picture has come
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.stage;
    if (this.canvas.width !== Math.round(clientWidth * ratio)) this.canvas.width = Math.round(clientWidth * ratio);
    if (this.canvas.height !== Math.round(clientHeight * ratio)) this.canvas.height = Math.round(clientHeight * ratio);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, clientWidth, clientHeight);
    const layout = this.layout();
    const [width, height] = [shape[this.geometry.across] * layout.scaleX, shape[this.geometry.down] * layout.scaleY];
    context.imageSmoothingQuality = "high";
    context.drawImage(grey.image, layout.left, layout.top, width, height);
    for (const mask of this.session.visibleMasks()) this.#drawMask(context, mask, layout, width, height);
    this.#drawKeySlice(context, layout, width);
    this.#drawCrosshair(context, layout, width, height);
  }

  #drawMask(context, mask, layout, width, height) {
    if (!isOn(mask, this.name, this.index)) return;
    const entry = this.images.get(this.#maskUrl(mask, this.index));
    if (!entry) return;
    const { fill, edge } = tinted(entry, mask.color);
    const isChosen = mask.name === this.session.selectedName;
    context.save();
    context.globalAlpha = isChosen ? 0.28 : 0.16;
    context.imageSmoothingEnabled = false;
    context.drawImage(fill, layout.left, layout.top, width, height);
    const outline = new Path2D();
    outline.addPath(edge, new DOMMatrix([layout.scaleX, 0, 0, layout.scaleY, layout.left, layout.top]));
    context.globalAlpha = isChosen ? 0.95 : 0.6;
    context.strokeStyle = mask.color;
    context.lineWidth = isChosen ? 1.4 : 1;
    context.stroke(outline);
    context.restore();
  }

  /** In the planes across it, the key slice is a line. */
  #drawKeySlice(context, { left, top, scaleY }, width) {
    const { key_slice: z } = this.session.draft;
    if (!this.geometry.flipped || z === null) return;
    const y = top + (this.session.study.shape[2] - 1 - z + 0.5) * scaleY;
    context.save();
    context.strokeStyle = KEY_SLICE;
    context.setLineDash([5, 4]);
    line(context, left, y, left + width, y);
    context.restore();
  }

  #drawCrosshair(context, { left, top, scaleX, scaleY }, width, height) {
    const { across, down, flipped } = this.geometry;
    const { position, study } = this.session;
    const row = flipped ? study.shape[down] - 1 - position[down] : position[down];
    const [x, y] = [left + (position[across] + 0.5) * scaleX, top + (row + 0.5) * scaleY];
    context.save();
    context.strokeStyle = CROSSHAIR;
    context.lineWidth = 1;
    line(context, left, y, x - GAP_PX, y);
    line(context, x + GAP_PX, y, left + width, y);
    line(context, x, top, x, y - GAP_PX);
    line(context, x, y + GAP_PX, x, top + height);
    context.restore();
  }

  /** Above the slider: where the masks are, and the key slice. */
  #drawExtents(last) {
    const bars = this.session.visibleMasks().filter((mask) => mask.slice_ranges);
    const { key_slice: z } = this.session.draft;
    const marks = bars.map((mask) => bar(mask.slice_ranges[this.name], last, mask.color, "extent"));
    if (this.geometry.through === 2 && z !== null) marks.push(bar([z, z], last, KEY_SLICE, "extent extent-key"));
    this.marks.replaceChildren(...marks);
  }

  #prefetch() {
    const last = this.session.study.shape[this.geometry.through] - 1;
    const ahead = [];
    for (let distance = 1; distance <= PREFETCHED; distance++) {
      ahead.push(this.index + this.#direction * distance);
      if (distance <= PREFETCHED / 3) ahead.push(this.index - this.#direction * distance);
    }
    const urls = ahead
      .filter((index) => index >= 0 && index <= last)
      .flatMap((index) => [
        this.#sliceUrl(index),
        ...this.session.visibleMasks().filter((mask) => isOn(mask, this.name, index)).map((mask) => this.#maskUrl(mask, index)),
      ]);
    this.images.prefetch(this.name, urls);
  }

  #sliceUrl(index) {
    const { low, high } = this.session.window;
    return `${path("studies", this.session.study.id, "slices", this.name, `${index}.png`)}?low=${low}&high=${high}`;
  }

  #maskUrl(mask, index) {
    const url = path("studies", this.session.study.id, "masks", mask.name, "slices", this.name, `${index}.png`);
    return `${url}?revision=${mask.revision}`;
  }
}

function isOn(mask, plane, index) {
  const range = mask.slice_ranges?.[plane];
  return Boolean(range) && range[0] <= index && index <= range[1];
}

function bar([first, end], last, color, name) {
  const made = element("span", { class: name });
  made.style.left = `${(100 * first) / Math.max(last, 1)}%`;
  made.style.right = `${100 - (100 * end) / Math.max(last, 1)}%`;
  made.style.background = color;
  return made;
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}
