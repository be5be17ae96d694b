/** The masks of a study, and what was asked. */

import { change, getJson, path } from "./calls.js";
import { button, element, replaceChildren } from "./dom.js";

export class Masks {
  #renamed = null;
  #deleted = null;

  /**
   * @param {HTMLElement} root
   * @param {import("./session.js").Session} session
   * @param {{onStudy: (study: object) => void, onError: (error: Error) => void}} listener
   */
  constructor(root, session, { onStudy, onError }) {
    Object.assign(this, { root, session, onStudy, onError });
    session.addEventListener("changed", () => this.show());
  }

  show() {
    const { study } = this.session;
    this.root.hidden = !study?.masks.length;
    if (this.root.hidden) return;
    replaceChildren(
      this.root,
      element("h3", { id: "masks-title" }, "Masks"),
      element("ul", { class: "masks" }, ...study.masks.map((mask) => this.#item(mask))),
    );
  }

  #item(mask) {
    const { hidden, selectedName } = this.session;
    const box = element("input", { type: "checkbox", checked: !hidden.has(mask.name), "aria-label": `Show ${mask.name}`, data: { focus: `show ${mask.name}` } });
    box.onchange = () => this.session.hide(mask.name, !box.checked);
    box.style.accentColor = mask.color;
    const isRenamed = this.#renamed === mask.name;
    const isDeleted = this.#deleted === mask.name;
    const act = (label, does, properties = {}) =>
      button(label, does, { class: "quiet", "aria-label": `${label} ${mask.name}`, data: { focus: `${label} ${mask.name}` }, ...properties });
    return element(
      "li",
      { class: mask.name === selectedName ? "is-selected" : "" },
      box,
      isRenamed ? this.#nameField(mask) : this.#nameButton(mask),
      !isRenamed && !isDeleted && act("Rename", () => this.#ask({ renamed: mask.name })),
      !isRenamed && !isDeleted && act("Delete", () => this.#ask({ deleted: mask.name })),
      isDeleted && act("Yes, delete", () => this.#delete(mask)),
      isDeleted && act("Keep", () => this.#ask({})),
    );
  }

  #nameButton(mask) {
    const volume = mask.volume_ml === null ? "" : `${mask.volume_ml.toFixed(1)} ml`;
    return button(mask.name, () => this.session.select(mask.name), {
      class: "mask-name",
      "aria-pressed": String(mask.name === this.session.selectedName),
      title: `${mask.name} ${volume}`,
      data: { focus: `name ${mask.name}` },
    });
  }

  #nameField(mask) {
    const field = element("input", { class: "mask-name", value: mask.name, maxLength: this.session.limits.name_characters, "aria-label": `New name of ${mask.name}` });
    field.onkeydown = (event) => {
      if (event.key === "Enter") this.#rename(mask, field.value.trim());
      if (event.key === "Escape") this.#ask({});
    };
    field.onblur = () => this.#renamed === mask.name && this.#ask({});
    queueMicrotask(() => field.select());
    return field;
  }

  /** Shows the field of a new name, or whether a mask is really to be deleted, or neither. */
  #ask({ renamed = null, deleted = null }) {
    this.#renamed = renamed;
    this.#deleted = deleted;
    this.show();
  }

  #rename(mask, name) {
    this.#renamed = null;
    if (!name || name === mask.name) return this.show();
    const isSelected = mask.name === this.session.selectedName;
    return this.#change("PATCH", mask, { name }, () => isSelected && this.session.select(name));
  }

  #delete(mask) {
    this.#deleted = null;
    return this.#change("DELETE", mask);
  }

  async #change(method, mask, body, then = () => {}) {
    try {
      const { id } = this.session.study;
      const study = await change(method, path("studies", id, "masks", mask.name), body);
      this.onStudy(study ?? (await getJson(path("studies", id))));
      then();
    } catch (error) {
      this.show();
      this.onError(error);
    }
  }
}

const DONE = { correction: "corrected", undo: "undone", rename: "renamed", delete: "deleted" };

export class History {
  /**
   * @param {HTMLElement} root
   * @param {import("./session.js").Session} session
   */
  constructor(root, session) {
    Object.assign(this, { root, session });
    session.addEventListener("changed", () => this.show());
  }

  show() {
    const { study } = this.session;
    this.root.hidden = !study?.history.length;
    if (this.root.hidden) return;
    const names = new Set(study.masks.map((mask) => mask.name));
    replaceChildren(
      this.root,
      element("h3", { id: "history-title" }, "History"),
      element(
        "ol",
        { class: "history", reversed: true },
        ...study.history.toReversed().map(({ kind, query, mask, status_text: words }, place) => {
          const what = kind === "question" ? query : mask;
          return element(
            "li",
            {},
            names.has(mask)
              ? button(what, () => this.session.select(mask), { class: "asked", data: { focus: `asked ${place}` } })
              : element("span", { class: "asked" }, what),
            element("span", { class: "outcome" }, DONE[kind] ?? words),
          );
        }),
      ),
    );
  }
}
