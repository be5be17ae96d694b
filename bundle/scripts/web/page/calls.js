/** Calls of the HTTP API (bundle/docs/http_api.md), and its errors in words. */

export class ServiceError extends Error {
  /**
   * @param {string} reason one of the service's closed list, or "unreachable".
   * @param {string} message what went wrong and what to do, for a person.
   */
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

const UNREACHABLE =
  "The server does not answer. Look whether “medvol-r1 serve” still runs in its terminal, start it again if not, and repeat what you did.";

/** A path below /api whose parts come from names that users chose. */
export function path(...parts) {
  return "/api/" + parts.map(encodeURIComponent).join("/");
}

async function send(method, url, body) {
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: { "X-MedVol": "1", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ServiceError("unreachable", UNREACHABLE);
  }
  if (!response.ok) throw errorOf(response.status, await response.text());
  return response;
}

function errorOf(status, text) {
  try {
    const { reason, message } = JSON.parse(text).error;
    return new ServiceError(String(reason), String(message));
  } catch {
    return new ServiceError("status", `The server answered with status ${status}. Its terminal says why; then try again.`);
  }
}

export async function getJson(url) {
  return (await send("GET", url)).json();
}

/** POST, PATCH or DELETE; the answer's JSON, or null where there is none. */
export async function change(method, url, body) {
  const response = await send(method, url, body);
  return response.status === 204 ? null : response.json();
}

/** A file of the service: its bytes and the name that the service gave it. */
export async function download(url) {
  const response = await send("GET", url);
  const disposition = response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(disposition)?.[1];
  const plain = /filename="?([^";]+)"?/i.exec(disposition)?.[1];
  return { bytes: await response.blob(), name: encoded ? decodeURIComponent(encoded) : (plain ?? "download") };
}

/**
 * Uploads a study; `fetch` cannot tell how far it is, so this is the older interface.
 * @param {File} file
 * @param {(share: number) => void} onProgress 0 to 1.
 */
export function upload(file, onProgress) {
  const form = new FormData();
  form.append("file", file);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new ServiceError("unreachable", UNREACHABLE));
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(errorOf(request.status, request.responseText));
    };
    request.open("POST", path("studies"));
    request.setRequestHeader("X-MedVol", "1");
    request.send(form);
  });
}
