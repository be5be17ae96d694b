/** What a mouse, a touch pad and fingers do on the picture of a plane, and on what lies above it. */

const WHEEL_STEP_PX = 40;
const WHEEL_ZOOM = 0.0025;
const MOST_SLICES_AT_ONCE = 3;
const SWIPE_STEP_PX = 7;

/** Where arrow keys move what has the focus, in pixels of the picture. */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The wheel scrolls, with Ctrl it zooms. A mouse drags the crosshair, with Shift the picture. A finger scrolls, its tap
 * sets the crosshair; two fingers zoom and shift.
 * @param {import("./plane.js").Plane} plane
 */
export function followPointers(plane) {
  followWheel(plane);
  const held = new Map(); // where the fingers, or the mouse, were last, in pixels of the stage
  const onDown = (event) => {
    if (!plane.session.study || event.button !== 0) return;
    if (event.pointerType === "touch") followFinger(plane, event, held);
    else if (event.target === plane.canvas) followMouse(plane, event, held);
  };
  // Before the boxes, which lie above the canvas, take a finger for themselves.
  plane.stage.addEventListener("pointerdown", onDown, { capture: true });
}

/**
 * Calls back with each move of a pointer that has begun to drag something: "held"; and with its end: "done", or "lost" to
 * a second finger, which zooms.
 * @param {PointerEvent} event
 * @param {HTMLElement} target what is dragged
 * @param {HTMLElement} stage the one of the plane
 * @param {(move: PointerEvent, state: "held"|"done"|"lost") => void} onMove
 */
export function followDrag(event, target, stage, onMove) {
  target.setPointerCapture(event.pointerId);
  const listeners = new AbortController();
  const end = (last, state) => (listeners.abort(), onMove(last, state));
  const own = (act) => (next) => next.pointerId === event.pointerId && act(next);
  const listen = (where, name, act) => where.addEventListener(name, act, { capture: true, signal: listeners.signal });
  listen(target, "pointermove", own((move) => onMove(move, "held")));
  listen(target, "pointerup", own((last) => end(last, "done")));
  listen(target, "pointercancel", own((last) => end(last, "lost")));
  listen(stage, "pointerdown", (other) => end(other, "lost"));
}

function followWheel(plane) {
  let moved = 0;
  const onWheel = (event) => {
    if (!plane.session.study) return;
    event.preventDefault();
    // Two fingers on a touch pad come as a wheel with Ctrl.
    if (event.ctrlKey) return plane.zoom(Math.exp(-event.deltaY * WHEEL_ZOOM), plane.stageXY(event));
    // A mouse's wheel comes in large steps, a touch pad's in many small ones; down is towards the feet.
    moved += event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_STEP_PX;
    const steps = Math.trunc(moved / WHEEL_STEP_PX);
    moved -= steps * WHEEL_STEP_PX;
    if (steps) plane.step(-Math.sign(steps) * Math.min(Math.abs(steps), MOST_SLICES_AT_ONCE));
  };
  plane.stage.addEventListener("wheel", onWheel, { passive: false });
}

function followMouse(plane, start, held) {
  plane.canvas.setPointerCapture(start.pointerId);
  if (!start.shiftKey) plane.point(start);
  track(plane, start, held, (move, before, after) => {
    if (move.shiftKey) plane.pan(difference(after[0], before[0]));
    else plane.point(move);
  });
}

function followFinger(plane, start, held) {
  const index = plane.index;
  let isTap = start.target === plane.canvas; // what began on a box drags the box
  let isScroll = isTap;
  if (held.size) {
    start.stopPropagation();
    for (const finger of [...held.keys(), start.pointerId]) plane.canvas.setPointerCapture(finger);
  }
  const onMove = (move, before, after) => {
    if (before.length > 1) isTap = isScroll = false;
    if (before.length === 2) return pinch(plane, before, after);
    const steps = Math.trunc((start.clientY - move.clientY) / SWIPE_STEP_PX);
    isTap &&= steps === 0;
    if (isScroll && !isTap) plane.moveTo(index + steps);
  };
  track(plane, start, held, onMove, (end) => isTap && plane.point(end));
}

function pinch(plane, before, after) {
  plane.zoom(distance(after) / Math.max(distance(before), 1), middle(before));
  plane.pan(difference(middle(after), middle(before))); // not before: a whole picture does not shift
}

/** Calls back with each move of a pointer, and all places that are held before and after it; then with its end. */
function track(plane, start, held, onMove, onUp = () => {}) {
  const listeners = new AbortController();
  const listen = (name, act) =>
    plane.stage.addEventListener(name, (event) => event.pointerId === start.pointerId && act(event), { signal: listeners.signal });
  const end = () => {
    held.delete(start.pointerId);
    listeners.abort();
  };
  held.set(start.pointerId, plane.stageXY(start));
  listen("pointermove", (move) => {
    const before = [...held.values()];
    held.set(start.pointerId, plane.stageXY(move));
    onMove(move, before, [...held.values()]);
  });
  listen("pointerup", (last) => (end(), onUp(last)));
  listen("pointercancel", end);
}

const difference = (to, from) => [to[0] - from[0], to[1] - from[1]];
const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
const distance = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);
