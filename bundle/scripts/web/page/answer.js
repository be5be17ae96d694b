/** The chosen answer with its evidence; correcting the evidence; files to take away. */

import { change, download, path } from "./calls.js";
import { button, element, replaceChildren } from "./dom.js";

const EXPORTS = {
  nifti: ["NIfTI", "the mask, on the grid of the study"],
  dicom_seg: ["DICOM SEG", "for a PACS or 3D Slicer"],
  evidence: ["Evidence", "JSON: question, reasoning, key slice, boxes"],
  picture: ["Picture", "PNG: evidence and mask on one page"],
};

export class Answer {
  /**
   * @param {HTMLElement} root
   * @param {import("./session.js").Session} session
   * @param {import("./box_editor.js").BoxEditor} boxes
   * @param {import("./point_editor.js").PointEditor} points
   * @param {import("./ask.js").Ask} ask
   * @param {{onStudy: (study: object) => void, onError: (error: Error) => void}} options
   */
  constructor(root, session, boxes, points, ask, { onStudy, onError }) {
    Object.assign(this, { root, session, boxes, points, ask, onStudy, onError });
    session.addEventListener("changed", () => this.show());
    session.addEventListener("moved", () => this.#showPlace());
    ask.root.addEventListener("busy", () => this.show());
    this.keyChoice = button("", () => this.#chooseKeySlice(), { data: { focus: "key slice" } });
    this.place = element("p", { class: "place" });
  }

  show() {
    const mask = this.session.selected;
    this.root.hidden = !this.session.study;
    if (!mask) {
      return replaceChildren(this.root, element("p", { class: "hint" }, "Ask a question in your own words. The answer brings its evidence: a key slice, boxes on it, and the mask that follows from them."));
    }
    replaceChildren(this.root, this.#result(mask), this.#reasoning(mask), this.#evidence(mask), this.#downloads(mask));
    this.#showPlace();
  }

  #result(mask) {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = mask.color;
    return element(
      "div",
      { class: "result" },
      element("h2", {}, swatch, mask.name),
      element("p", { class: "volume" }, ...volumeOf(mask)),
      element("p", { class: `status status-${mask.status === "ok" ? "ok" : "not"}`, role: "status" }, mask.status_text, mask.corrected && "; corrected by hand"),
    );
  }

  #reasoning(mask) {
    return element(
      "div",
      { class: "reasoning" },
      mask.query !== mask.name && element("p", { class: "asked" }, mask.query),
      mask.reasoning && element("blockquote", {}, mask.reasoning),
      mask.reasoning && mask.key_slice !== null && element("p", { class: "place" }, this.#numbering(mask)),
    );
  }

  /** The model counts the slices that it sees; what it writes has those numbers. */
  #numbering(mask) {
    const { slices } = this.session.study.shown;
    return `Slice ${slices.indexOf(mask.key_slice) + 1} of the ${slices.length} that the model sees is slice ${mask.key_slice + 1} here.`;
  }

  #evidence(mask) {
    const { draft, isDraftChanged } = this.session;
    const count = draft.boxes.length;
    const act = (label, does, properties = {}) => button(label, does, { data: { focus: label }, ...properties });
    const isReady = isDraftChanged && draft.key_slice !== null && !this.ask.isBusy;
    return element(
      "div",
      { class: "evidence" },
      element("h3", {}, "Evidence ", element("span", {}, wordsOf(draft))),
      this.place,
      element("div", { class: "actions" }, ...this.#editing(act)),
      isDraftChanged && count === 0 && element("p", { class: "hint" }, "Without a box, the correction says that the target is not in this scan."),
      element(
        "div",
        { class: "actions" },
        act("Propagate again", () => this.#propagate(mask), { class: "primary", disabled: !isReady }),
        isDraftChanged && act("Discard changes", () => this.session.discardCorrection()),
        mask.undo && !isDraftChanged && act("Undo", () => this.#undo(mask), { disabled: this.ask.isBusy, title: "Back to the mask before the last correction" }),
      ),
    );
  }

  /** What adds to the evidence, or what is to be done next while something is added. */
  #editing(act) {
    const { boxes, points } = this;
    const adding = (hint, addAtCrosshair, stop) => [
      element("p", { class: "hint" }, hint),
      act("Put it at the crosshair", addAtCrosshair),
      act("Do not add", stop),
    ];
    if (boxes.isDrawing) return adding("Drag a box on the axial picture.", () => boxes.addAtCrosshair(), () => boxes.startDrawing(false));
    if (points.isSetting) return adding("Press on the target, inside a box.", () => points.addAtCrosshair(), () => points.startSetting(false));
    const hasBox = this.session.draft.boxes.length > 0;
    const addPoint = act("Add point", () => this.#addPoint(), { disabled: !hasBox, title: "On the target, inside its box" });
    return [act("Add box", () => boxes.startDrawing()), addPoint, this.keyChoice];
  }

  #addPoint() {
    if (!this.session.isKeySliceShown) this.session.showKeySlice();
    this.points.startSetting();
  }

  /** What depends on the slice that is looked at; the rest is not made anew with each step. */
  #showPlace() {
    const { study, draft, position } = this.session;
    if (!this.session.selected) return;
    const isKeySlice = draft.key_slice === position[2];
    const next = this.session.nearestShownSlice(position[2]);
    this.keyChoice.textContent = next === draft.key_slice ? `Slice ${next + 1} is the key slice` : `Make slice ${next + 1} the key slice`;
    this.keyChoice.disabled = next === draft.key_slice;
    this.keyChoice.title = `The model sees ${study.shown.slices.length} of the ${study.shape[2]} slices; the key slice is one of these`;
    if (draft.key_slice === null) this.place.textContent = "No box was drawn. Find the target, and add one.";
    else if (isKeySlice) this.place.textContent = "Drag a box or its corners to correct it.";
    else replaceChildren(this.place, "The boxes are on another slice. ", button("Show key slice", () => this.session.showKeySlice(), { class: "link" }));
  }

  #chooseKeySlice() {
    const next = this.session.nearestShownSlice(this.session.position[2]);
    this.session.correct({ key_slice: next });
    this.session.move({ 2: next });
  }

  #propagate(mask) {
    const url = path("studies", this.session.study.id, "masks", mask.name, "correction");
    const evidence = this.session.draft;
    return this.ask.run(`Correction of ${mask.name}`, () => change("POST", url, evidence));
  }

  async #undo(mask) {
    try {
      this.onStudy(await change("POST", path("studies", this.session.study.id, "masks", mask.name, "undo")));
      this.session.showKeySlice();
    } catch (error) {
      this.onError(error);
    }
  }

  #downloads(mask) {
    const offered = Object.entries(EXPORTS).filter(([kind]) => this.session.study.exports.includes(kind));
    return element(
      "div",
      { class: "downloads" },
      element("h3", {}, "Download"),
      element(
        "div",
        { class: "actions" },
        ...offered.map(([kind, [label, what]]) => button(label, () => this.#download(mask, kind), { title: what, data: { focus: label } })),
      ),
    );
  }

  async #download(mask, kind) {
    try {
      const { bytes, name } = await download(path("studies", this.session.study.id, "masks", mask.name, "export", kind));
      const link = element("a", { href: URL.createObjectURL(bytes), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (error) {
      this.onError(error);
    }
  }
}

/** A picture without a spacing has no volume. */
function volumeOf({ volume_ml: volume }) {
  if (volume === null) return ["volume unknown"];
  return [element("strong", {}, volume.toFixed(volume < 10 ? 2 : 1)), " ml"];
}

function wordsOf({ key_slice: z, boxes, points }) {
  if (z === null) return "no key slice";
  const counted = [[boxes.length, "box", "boxes"], [points.flat().length, "point", "points"]];
  const words = counted.filter(([count, one]) => count || one === "box").map(([count, one, several]) => `${count} ${count === 1 ? one : several}`);
  return [`slice ${z + 1}`, ...words].join(", ");
}
