/** How far one is zoomed into a plane, and which part of it is seen. Lengths are CSS pixels of its stage. */

const MOST = 12;

export class Zoom {
  #factor = 1;
  #shift = [0, 0];

  /** A layout (see `Plane.layout`) of the whole picture, as it is zoomed, on a stage of this size. */
  applied({ left, top, scaleX, scaleY }, size) {
    const [x, y] = [left, top].map((edge, axis) => size[axis] / 2 + (edge - size[axis] / 2) * this.#factor + this.#shift[axis]);
    return { left: x, top: y, scaleX: scaleX * this.#factor, scaleY: scaleY * this.#factor };
  }

  /** Zooms by a factor; what is at `point` of the stage stays there. */
  around(point, by, size) {
    const factor = Math.min(Math.max(this.#factor * by, 1), MOST);
    this.#shift = point.map((at, axis) => {
      const fromMiddle = at - size[axis] / 2;
      return fromMiddle - ((fromMiddle - this.#shift[axis]) * factor) / this.#factor;
    });
    this.#factor = factor;
    this.pan([0, 0], size);
  }

  /** Shifts the picture, at most until its edge is in the middle. */
  pan(by, size) {
    this.#shift = by.map((more, axis) => {
      const most = ((this.#factor - 1) * size[axis]) / 2;
      return Math.min(Math.max(this.#shift[axis] + more, -most), most);
    });
  }

  reset() {
    this.#factor = 1;
    this.#shift = [0, 0];
  }
}
