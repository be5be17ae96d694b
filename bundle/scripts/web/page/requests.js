/** A request of the service while it waits and works. */

import { change, getJson, path } from "./calls.js";

const POLL_MS = 700;
const ENDED = ["done", "failed", "cancelled"];

/**
 * Follows a request to its end by server-sent events, or by asking again and again where those do not come through.
 * @param {string} id
 * @param {(state: object) => void} onState called with each state.
 * @returns {Promise<object>} the last state.
 */
export function follow(id, onState) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(path("requests", id, "events"));
    const took = (state) => {
      onState(state);
      if (!ENDED.includes(state.state)) return false;
      events.close();
      resolve(state);
      return true;
    };
    events.onmessage = (event) => took(JSON.parse(event.data));
    events.onerror = () => {
      events.close();
      poll(id, took).catch(reject);
    };
  });
}

async function poll(id, took) {
  while (!took(await getJson(path("requests", id)))) await new Promise((wake) => setTimeout(wake, POLL_MS));
}

export function cancel(id) {
  return change("DELETE", path("requests", id));
}

/** What a request does now, in words, and how far it is: 0 to 1, or null where that is not known. */
export function progressOf({ state, ahead, stage, slices }) {
  if (state === "queued") {
    if (!ahead) return { words: "Waiting for the models", share: null };
    return { words: `In the queue: ${ahead} ${ahead === 1 ? "request is" : "requests are"} before yours`, share: null };
  }
  if (stage === "encoding") return { words: "Reading the volume", share: null };
  if (stage === "writing") return { words: "Writing the answer", share: null };
  if (stage === "propagating" && slices?.[1]) {
    const [done, of] = slices;
    return { words: `Following the boxes through the volume: slice ${done} of ${of}`, share: done / of };
  }
  return { words: "Working", share: null };
}

/** The reasoning of a text that is being written, and what follows it. */
export function readWritten(text) {
  const [before, ...after] = text.split("</think>");
  // The last characters may be the first ones of a tag.
  const reasoning = before.replace(/^\s*<think>/, "").replace(/<\/?[a-z]{0,5}$/, "");
  return { reasoning: reasoning.trim(), rest: after.join("</think>").trim() };
}
