/** Choosing a study: those of the folder, those that are open, or a file of one's own. */

import { change, getJson, path, upload } from "./calls.js";
import { button, element, replaceChildren } from "./dom.js";

const KINDS = { nifti: "NIfTI", dicom: "DICOM series" };
const MANY = 8;

export class StudyChooser {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {(study: object) => void} onOpen
   */
  constructor(dialog, onOpen) {
    this.dialog = dialog;
    this.onOpen = onOpen;
    this.list = element("div", { class: "study-list" });
    this.message = element("p", { class: "message", role: "status" });
    this.filter = element("input", { type: "search", placeholder: "Find by name", "aria-label": "Find a study by name", hidden: true });
    this.filter.oninput = () => this.#filter();
    dialog.append(
      element(
        "div",
        { class: "dialog-head" },
        element("h2", { id: "studies-title" }, "Choose a study"),
        button("Close", () => dialog.close(), { class: "quiet" }),
      ),
      this.filter,
      this.list,
      this.#uploadArea(),
      this.message,
    );
  }

  #uploadArea() {
    const input = element("input", { type: "file", id: "study-file", accept: ".nii,.gz,.zip", class: "visually-hidden" });
    input.onchange = async () => {
      const [file] = input.files;
      if (file) await this.#upload(file);
      input.value = ""; // so that the same file can be chosen again
    };
    const area = element(
      "label",
      { class: "drop", for: "study-file" },
      element("strong", {}, "Upload a CT, or drop it here"),
      element("span", {}, "NIfTI (.nii, .nii.gz) or a DICOM series in a .zip. It stays on the machine that runs the server."),
    );
    // A file may be dropped anywhere; without this the browser would leave the page for it.
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) this.show().then(() => this.#upload(file));
    });
    return element("div", {}, input, area);
  }

  async show() {
    if (!this.dialog.open) this.dialog.showModal();
    this.#say("");
    try {
      const { available, open } = await getJson(path("studies"));
      this.#showList(available, open);
      this.list.querySelector(".study")?.focus();
    } catch (error) {
      this.#say(error.message, true);
    }
  }

  #showList(available, open) {
    const opened = open.map(({ id, name }) =>
      element(
        "li",
        {},
        button(name, () => this.#open(() => getJson(path("studies", id))), { class: "study" }),
        button("Close", () => this.#close(id), { class: "quiet", "aria-label": `Close ${name}` }),
      ),
    );
    const others = available.map(({ path: where, name, kind }) =>
      element(
        "li",
        {},
        button(name, () => this.#open(() => change("POST", path("studies"), { path: where })), { class: "study" }),
        element("span", { class: "kind" }, KINDS[kind] ?? kind),
      ),
    );
    this.filter.hidden = others.length <= MANY;
    replaceChildren(
      this.list,
      opened.length > 0 && element("h3", {}, "Open now"),
      opened.length > 0 && element("ul", {}, ...opened),
      others.length > 0 && element("h3", {}, "In the server’s folder"),
      others.length > 0
        ? element("ul", { class: "others" }, ...others)
        : element("p", { class: "hint" }, "The server offers no folder. Start it with “medvol-r1 serve --studies FOLDER”, or upload a file."),
    );
    this.#filter();
  }

  #filter() {
    const wanted = this.filter.value.toLowerCase();
    for (const item of this.list.querySelectorAll(".others li")) {
      item.hidden = !item.querySelector(".study").textContent.toLowerCase().includes(wanted);
    }
  }

  async #open(request) {
    this.#say("Opening the study");
    try {
      const study = await request();
      this.dialog.close();
      this.onOpen(study);
    } catch (error) {
      this.#say(error.message, true);
    }
  }

  #upload(file) {
    return this.#open(() => upload(file, (share) => this.#say(share < 1 ? `Uploading: ${Math.round(100 * share)} %` : "Reading the file")));
  }

  async #close(id) {
    try {
      await change("DELETE", path("studies", id));
      await this.show();
    } catch (error) {
      this.#say(error.message, true);
    }
  }

  #say(text, isError = false) {
    this.message.textContent = text;
    this.message.classList.toggle("is-error", isError);
  }
}
