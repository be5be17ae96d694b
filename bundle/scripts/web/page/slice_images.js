/** Pictures of slices: fetched once, the next ones before they are asked for. */

const MOST_IMAGES = 360;
const MOST_PREFETCHES = 3;

export class SliceImages {
  #images = new Map();
  #ahead = new Map();
  #fetching = 0;

  /** @param {() => void} onLoad called when a picture that `get` could not give has come. */
  constructor(onLoad) {
    this.onLoad = onLoad;
  }

  /** The picture, or null while it is on its way. */
  get(url) {
    const entry = this.#images.get(url) ?? this.#fetch(url);
    entry.isWanted = true;
    this.#images.delete(url); // now the youngest
    this.#images.set(url, entry);
    return entry.isReady ? entry : null;
  }

  /** Fetches these when nothing else is to do; forgets what an earlier call for the same plane asked for. */
  prefetch(plane, urls) {
    this.#ahead.set(plane, urls.filter((url) => !this.#images.has(url)));
    this.#fetchAhead();
  }

  forget() {
    this.#images.clear();
    this.#ahead.clear();
  }

  #fetchAhead() {
    while (this.#fetching < MOST_PREFETCHES) {
      const url = [...this.#ahead.values()].find((urls) => urls.length)?.shift();
      if (url === undefined) return;
      if (this.#images.has(url)) continue;
      this.#fetching += 1;
      this.#fetch(url).loaded.finally(() => {
        this.#fetching -= 1;
        this.#fetchAhead();
      });
    }
  }

  #fetch(url) {
    const entry = { image: new Image(), isReady: false, isWanted: false };
    entry.image.src = url;
    entry.loaded = entry.image.decode().then(
      () => {
        entry.isReady = true;
        if (entry.isWanted) this.onLoad();
      },
      () => this.#images.delete(url), // asked for again when it is needed again
    );
    this.#images.set(url, entry);
    if (this.#images.size > MOST_IMAGES) this.#images.delete(this.#images.keys().next().value);
    return entry;
  }
}

/**
 * A mask's picture as it is drawn: a tinted fill, and its edge along the pixels' edges.
 * @param {{image: HTMLImageElement}} entry of `SliceImages`; keeps what was made of it.
 */
export function tinted(entry, color) {
  if (entry.color === color) return entry;
  const { naturalWidth: width, naturalHeight: height } = entry.image;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(entry.image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height);
  const { data } = pixels;
  for (let alpha = 3; alpha < data.length; alpha += 4) data[alpha] = data[alpha] ? 255 : 0;
  context.putImageData(pixels, 0, 0);
  entry.edge = edgeOf((x, y) => x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x) + 3] > 0, width, height);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = color;
  context.fillRect(0, 0, width, height);
  entry.fill = canvas;
  entry.color = color;
  return entry;
}

function edgeOf(isInside, width, height) {
  const edge = new Path2D();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!isInside(x, y)) continue;
      if (!isInside(x - 1, y)) (edge.moveTo(x, y), edge.lineTo(x, y + 1));
      if (!isInside(x + 1, y)) (edge.moveTo(x + 1, y), edge.lineTo(x + 1, y + 1));
      if (!isInside(x, y - 1)) (edge.moveTo(x, y), edge.lineTo(x + 1, y));
      if (!isInside(x, y + 1)) (edge.moveTo(x, y + 1), edge.lineTo(x + 1, y + 1));
    }
  }
  return edge;
}
