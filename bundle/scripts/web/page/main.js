/** The page: brings its parts together, and shows errors in words. */

import { Answer } from "./answer.js";
import { change, getJson, path } from "./calls.js";
import { Ask } from "./ask.js";
import { button, element } from "./dom.js";
import { History, Masks } from "./masks.js";
import { Session } from "./session.js";
import { StudyChooser } from "./studies.js";
import { Viewer } from "./viewer.js";

const part = (id) => document.getElementById(id);

/** An error stays until it is read; the next thing that works does not wipe it away. */
function showError(error) {
  const alert = element("div", { class: "alert" }, element("p", {}, error.message));
  alert.append(button("Dismiss", () => alert.remove(), { class: "quiet" }));
  part("alerts").replaceChildren(alert);
}

/** Asks for the server's key until one fits; the session's cookie stands for it afterwards. */
function askForKey() {
  const field = element("input", { type: "password", id: "key-field", autocomplete: "off", required: true });
  const message = element("p", { class: "message is-error", role: "status" });
  const form = element(
    "form",
    {},
    element("h2", { id: "key-title" }, "This server has a key"),
    element("label", { for: "key-field" }, "Key, as given where the server was started"),
    field,
    message,
    element("button", { class: "primary" }, "Continue"),
  );
  const dialog = part("key");
  dialog.replaceChildren(form);
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await change("POST", path("session"), { key: field.value });
        dialog.close();
        resolve(await getJson(path("about")));
      } catch (error) {
        message.textContent = error.message;
      }
    };
  });
}

async function readAbout() {
  try {
    return await getJson(path("about"));
  } catch (error) {
    if (error.reason !== "wrong_key") throw error;
    return askForKey();
  }
}

async function start() {
  const about = await readAbout();
  const session = new Session(about.windows, about.limits);
  const viewer = new Viewer(part("viewer"), session);
  const onStudy = (study) => session.open(study);
  const chooser = new StudyChooser(part("studies"), (study) => {
    location.hash = encodeURIComponent(study.id); // a reload shows the same study again
    onStudy(study);
    viewer.reset();
    session.showKeySlice();
  });
  const ask = new Ask(part("ask"), session, {
    onError: showError,
    onDone: async (mask) => {
      onStudy(await getJson(path("studies", session.study.id)));
      if (mask !== null) session.select(mask);
    },
  });
  new Answer(part("answer"), session, viewer.boxes, viewer.points, ask, { onStudy, onError: showError });
  new Masks(part("masks"), session, { onStudy, onError: showError });
  new History(part("history"), session);
  const studyButton = part("choose-study");
  studyButton.onclick = () => chooser.show();
  session.addEventListener("changed", () => {
    const { name, shape, spacing_mm: spacing } = session.study;
    const size = `${shape.join(" × ")} voxels of ${spacing.map((mm) => Number(mm.toFixed(2))).join(" × ")} mm`;
    studyButton.replaceChildren(element("strong", {}, name), element("span", {}, size));
    document.title = `${name} · MedVol-R1`;
    document.body.classList.add("has-study");
  });
  const id = decodeURIComponent(location.hash.slice(1));
  if (!id) return chooser.show();
  try {
    onStudy(await getJson(path("studies", id)));
    session.showKeySlice();
  } catch {
    await chooser.show(); // closed meanwhile, or of another server
  }
}

start().catch(showError);
