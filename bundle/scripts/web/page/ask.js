/** The question, and the request while it waits and works: asked or corrected. */

import { change, path } from "./calls.js";
import { button, element, replaceChildren } from "./dom.js";
import { cancel, follow, progressOf, readWritten } from "./requests.js";

// The service cancels what nobody follows any more.
const CANCELLED = "The request was cancelled: its connection broke off, or it was stopped elsewhere. Ask again.";

export class Ask {
  #request = null;

  /**
   * @param {HTMLElement} root
   * @param {import("./session.js").Session} session
   * @param {{onDone: (mask: string|null) => Promise, onError: (error: Error) => void}} listener
   */
  constructor(root, session, listener) {
    this.root = root;
    this.session = session;
    this.listener = listener;
    this.question = element("textarea", { id: "question", rows: 2, maxLength: session.limits.query_characters, placeholder: "for example: the organ that makes bile" });
    this.question.onkeydown = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#ask();
    };
    this.askButton = button("Ask", () => this.#ask(), { class: "primary" });
    this.progress = element("div", { class: "progress", hidden: true });
    this.status = element("p", { class: "stage-words", role: "status" });
    this.meter = element("progress", { max: 1, "aria-label": "Progress" });
    this.stop = button("Stop", () => this.#stop(), { class: "stop" });
    this.asked = element("p", { class: "asked" });
    this.written = element("div", { class: "written" });
    this.progress.append(
      this.asked,
      element("div", { class: "progress-head" }, this.status, this.stop),
      this.meter,
      this.written,
    );
    root.append(
      element("label", { for: "question" }, "What do you look for?"),
      element("div", { class: "ask-row" }, this.question, this.askButton),
      this.progress,
    );
    session.addEventListener("changed", () => this.#enable());
    this.#enable();
  }

  get isBusy() {
    return this.#request !== null;
  }

  #enable() {
    this.question.disabled = !this.session.study;
    this.askButton.disabled = !this.session.study || this.isBusy;
  }

  #ask() {
    const query = this.question.value;
    if (!query.trim() || this.askButton.disabled) return;
    return this.run(query, () => change("POST", path("studies", this.session.study.id, "questions"), { query }));
  }

  /** Starts a request of the study that is open, and follows it to its end. */
  async run(title, start) {
    const study = this.session.study.id;
    this.#request = { id: null, isStopped: false };
    this.#enable();
    this.root.dispatchEvent(new Event("busy", { bubbles: true }));
    this.asked.textContent = title;
    this.#show({ state: "queued", ahead: 0, written: "" });
    this.progress.hidden = false;
    let end = null;
    try {
      this.#request.id = (await start()).request;
      if (this.#request.isStopped) await cancel(this.#request.id);
      end = await follow(this.#request.id, (state) => this.#show(state));
    } catch (error) {
      this.listener.onError(error);
    }
    const { isStopped } = this.#request;
    this.#request = null;
    this.progress.hidden = true;
    this.#enable();
    this.root.dispatchEvent(new Event("busy", { bubbles: true }));
    if (end?.state === "cancelled" && !isStopped) this.listener.onError(new Error(CANCELLED));
    if (end?.state === "failed") this.listener.onError(new Error(end.error?.message ?? "The request failed. Ask again."));
    if (end?.state === "done" && this.question.value === title) this.question.value = "";
    if (end && this.session.study?.id === study) await this.listener.onDone(end.state === "done" ? end.mask : null).catch(this.listener.onError);
  }

  #show(state) {
    const { words, share } = this.#request?.isStopped ? { words: "Stopping", share: null } : progressOf(state);
    if (this.status.textContent !== words) this.status.textContent = words;
    if (share === null) this.meter.removeAttribute("value");
    else this.meter.value = share;
    const { reasoning, rest } = readWritten(state.written ?? "");
    replaceChildren(this.written, reasoning && element("p", {}, reasoning), rest && element("p", { class: "raw" }, rest));
    this.written.scrollTop = this.written.scrollHeight;
  }

  async #stop() {
    this.#request.isStopped = true;
    this.status.textContent = "Stopping";
    if (this.#request.id === null) return; // cancelled as soon as the service has told its name
    try {
      await cancel(this.#request.id);
    } catch (error) {
      this.listener.onError(error);
    }
  }
}
