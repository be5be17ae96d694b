"""How fast the page scrolls through a CT of 512 x 512 x 300 voxels, in a headless Chromium on this machine.

    apt-get install chromium
    python -m pip install -e ".[serve,browser]"
    python benchmarks/scroll_speed.py

Steps up the axial plane, each when the slice before is drawn; then again, when the browser has the slices.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from medvol_r1.phantom.scan import make_phantom
from page_pictures import DESKTOP, chromium, open_study, started_server
from playwright.sync_api import Page

SHAPE, COARSE, NOISE_HU = (512, 512, 300), 4, 15
STEPS = 120
# Tells when a slice is drawn.
WATCH = """
window.drawn = new Map();
const { drawImage } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.drawImage = function (image, ...place) {
  const slice = /slices.axial.(\\d+).png/.exec(image.src ?? "")?.[1];
  if (slice !== undefined) window.drawn.set(Number(slice), performance.now());
  return drawImage.call(this, image, ...place);
};
"""
# Milliseconds from a key to its slice on the canvas, one after another, from the lowest slice on.
SCROLL = """async (steps) => {
  const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const drawn = async (slice) => {
    while (!window.drawn.has(slice)) await new Promise((wake) => setTimeout(wake));
    return window.drawn.get(slice);
  };
  window.drawn.clear();
  press("Home");
  await drawn(0);
  const times = [];
  for (let slice = 1; slice <= steps; slice++) {
    const start = performance.now();
    press("ArrowUp");
    times.push((await drawn(slice)) - start);
  }
  return times;
}"""


def write_volume(path: Path) -> None:
    """A phantom, each voxel of it several, with noise."""
    phantom = make_phantom(0, "organs", shape=tuple(size // COARSE for size in SHAPE), canonical=True)
    voxels = phantom.image.astype(np.float32)
    for axis in range(3):
        voxels = voxels.repeat(COARSE, axis)
    voxels += np.random.default_rng(0).normal(0, NOISE_HU, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([-0.7, -0.7, 1.5, 1.0])), path)


def scroll(page: Page) -> np.ndarray:
    """Milliseconds of each step."""
    return np.array(page.evaluate(SCROLL, STEPS))


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as studies, chromium() as browser:
        write_volume(Path(studies) / "ct.nii")
        with started_server(Path(studies)) as url:
            page = browser.new_page(viewport=DESKTOP)
            page.add_init_script(WATCH)
            page.goto(url)
            open_study(page, "ct.nii")
            page.locator('.plane[data-plane="axial"] canvas').hover()  # keys move the plane under the mouse
            page.wait_for_load_state("networkidle")
            passes = {"first": scroll(page), "again": scroll(page)}
    print(f"| {STEPS} slices | median, ms | 95%, ms | a second |\n|---|---|---|---|")
    for name, times in passes.items():
        median, most = np.percentile(times, (50, 95))
        print(f"| {name} | {median:.0f} | {most:.0f} | {1000 * STEPS / times.sum():.0f} |")


if __name__ == "__main__":
    main()
