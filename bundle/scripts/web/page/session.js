/** What the page shows: a study, where one looks, the chosen mask, and what a person changed of its evidence. */

/** Voxel axes of the three planes; pictures with `flipped` have superior on top. */
export const PLANES = {
  axial: { title: "Axial", across: 0, down: 1, through: 2, flipped: false, marks: ["R", "L", "A", "P"] },
  coronal: { title: "Coronal", across: 0, down: 2, through: 1, flipped: true, marks: ["R", "L", "S", "I"] },
  sagittal: { title: "Sagittal", across: 1, down: 2, through: 0, flipped: true, marks: ["A", "P", "S", "I"] },
};

/**
 * Events: `moved` when another place is looked at, `changed` for everything else.
 *
 * Positions and boxes are in display voxels: x to the patient's left, y to posterior, z to superior. Boxes are
 * [x1, y1, x2, y2], half-open pixel edges of the axial picture; points are [x, y] there, a list of them for each box.
 */
export class Session extends EventTarget {
  study = null;
  position = [0, 0, 0];
  window = null;
  masksShown = true;
  hidden = new Set();
  selectedName = null;
  /** {key_slice, boxes, points} of the chosen mask as changed by a person; equal to the mask's own until then. */
  draft = evidenceOf(null);

  /**
   * @param {{name: string, low: number, high: number}[]} windows what every study can be looked at with.
   * @param {{query_characters: number, name_characters: number}} limits of the service.
   */
  constructor(windows, limits) {
    super();
    this.limits = limits;
    this.presets = windows;
    this.windows = windows;
    this.window = windows[0];
  }

  get selected() {
    return this.study?.masks.find((mask) => mask.name === this.selectedName) ?? null;
  }

  get isDraftChanged() {
    const mask = this.selected;
    if (!mask) return false;
    return JSON.stringify(evidenceOf(mask)) !== JSON.stringify(this.draft);
  }

  /** Takes a study, or what has become of the one that is open. */
  open(study) {
    const isNew = this.study?.id !== study.id;
    const before = this.selected;
    this.study = study;
    if (isNew) {
      this.position = study.shape.map((size) => Math.floor(size / 2));
      this.hidden.clear();
      this.#takeWindow(study.window);
    }
    if (isNew || !this.selected) this.selectedName = study.masks.at(-1)?.name ?? null;
    if (isNew || this.selected?.revision !== before?.revision || this.selected?.name !== before?.name) this.resetDraft();
    this.#tell("changed");
    this.#tell("moved");
  }

  select(name) {
    this.selectedName = name;
    this.hidden.delete(name);
    this.resetDraft();
    this.#tell("changed");
    this.showKeySlice();
  }

  /** Moves along one voxel axis, or several: {axis: index}. */
  move(indices) {
    if (!this.study) return;
    for (const [axis, index] of Object.entries(indices)) {
      this.position[axis] = Math.min(Math.max(Math.round(index), 0), this.study.shape[axis] - 1);
    }
    this.#tell("moved");
  }

  /** To the key slice, and into the first box. */
  showKeySlice() {
    const { key_slice: z, boxes } = this.draft;
    if (z === null) return;
    const [first] = boxes;
    this.move(first ? { 0: (first[0] + first[2]) / 2, 1: (first[1] + first[3]) / 2, 2: z } : { 2: z });
  }

  setWindow(window) {
    this.window = window;
    this.#tell("changed");
  }

  showMasks(isShown) {
    this.masksShown = isShown;
    this.#tell("changed");
  }

  hide(name, isHidden) {
    if (isHidden) this.hidden.add(name);
    else this.hidden.delete(name);
    this.#tell("changed");
  }

  /** Whether the slice that is looked at has the boxes, and they are to be seen. */
  get isKeySliceShown() {
    return Boolean(this.study) && this.draft.key_slice === this.position[2] && this.masksShown;
  }

  visibleMasks() {
    if (!this.masksShown || !this.study) return [];
    return this.study.masks.filter((mask) => !this.hidden.has(mask.name));
  }

  resetDraft() {
    this.draft = evidenceOf(this.selected);
  }

  /** A person's change of the evidence. */
  correct(changed) {
    this.draft = { ...this.draft, ...changed };
    this.#tell("changed");
  }

  discardCorrection() {
    this.resetDraft();
    this.#tell("changed");
  }

  /** The slice nearest to `z` among those that the model sees: only these can be a key slice. */
  nearestShownSlice(z) {
    return this.study.shown.slices.reduce((best, one) => (Math.abs(one - z) < Math.abs(best - z) ? one : best));
  }

  /** Begins with what the models see: one of the presets, or one more in front of them, as for MR. */
  #takeWindow(seen) {
    const preset = this.presets.find(({ low, high }) => low === seen.low && high === seen.high);
    this.windows = preset ? this.presets : [{ name: "model", ...seen }, ...this.presets];
    this.window = preset ?? this.windows[0];
  }

  /** A box in whole pixels, inside the part of the picture that the model sees, at least a pixel large. */
  fitted([x1, y1, x2, y2]) {
    const [left, top, right, bottom] = this.study.shown.crop;
    const clamp = (value, low, high) => Math.min(Math.max(Math.round(value), low), high);
    const [x, y] = [clamp(Math.min(x1, x2), left, right - 1), clamp(Math.min(y1, y2), top, bottom - 1)];
    return [x, y, clamp(Math.max(x1, x2), x + 1, right), clamp(Math.max(y1, y2), y + 1, bottom)];
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}

function evidenceOf(mask) {
  const { key_slice = null, bbox_2d_list: boxes = [], point_2d_list: points = [] } = structuredClone(mask ?? {});
  return { key_slice, boxes, points: points.length ? points : boxes.map(() => []) };
}
