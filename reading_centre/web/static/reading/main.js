/** Opens a case: loads what is seen first first, then the other panes, then what waited in the browser. */

import { Api, toLogin } from "./api.js";
import { Desk } from "./desk.js";
import { byId, element, toast } from "./dom.js";
import { Edits } from "./edits.js";
import { finish, showSignature } from "./finish.js";
import { Grid } from "./geometry.js";
import { Journal } from "./journal.js";
import { listenToKeys, showKeys } from "./keys.js";
import { Lease, clientId } from "./lease.js";
import { Panel } from "./panel.js";
import { listenToPointer } from "./pointer.js";
import { Reading } from "./reading.js";
import { Saving } from "./saving.js";
import { Slider } from "./slider.js";
import { Sync } from "./sync.js";
import { TEXTS } from "./texts.js";
import { Toolbar } from "./toolbar.js";
import { Viewer } from "./viewer.js";

/** Case and label maps as the server has them now. @param {Api} api */
async function loadMarks(api) {
  const info = await api.get("case");
  const maps = await Promise.all(info.kinds.map(({ id }) => api.voxels(`labels/${id}`)));
  return { info, labels: new Map(info.kinds.map(({ id }, at) => [id, maps[at]])) };
}

/** Outlines of read A and read B by kind, with the numbers of the lesions. @param {Api} api @param {any} info */
async function loadReads(api, info) {
  const ids = info.kinds.map(({ id }) => id);
  const maps = await Promise.all(["A", "B"].map((name) => Promise.all(ids.map((id) => api.voxels(`reads/${name}/${id}`)))));
  return new Map(["A", "B"].map((name, at) => [name, new Map(ids.map((id, of) => [id, maps[at][of]]))]));
}

/** Confirmed lesions of the previous visit by kind. @param {Api} api @param {any} info */
async function loadPrevious(api, info) {
  return new Map(await Promise.all(info.confirmed_before.map(async (id) => [id, await api.voxels(`previous/${id}`)])));
}

/** Resolves when the panes are drawn. @param {Viewer} viewer @returns {Promise<void>} */
function drawn(viewer) {
  return new Promise((resolve) => { viewer.addEventListener("drawn", () => resolve(), { once: true }); });
}

/** Load the volumes, the first pane first. @param {Api} api @param {Viewer} viewer @param {Promise<Uint16Array>} first
 * @param {Promise<any>} marks loaded before the other panes */
async function loadVolumes(api, viewer, first, marks) {
  viewer.setVolume(viewer.panes[0], await first);
  drawn(viewer).then(() => performance.mark("first-picture"));
  await marks;
  await Promise.all(viewer.panes.slice(1).map(async (pane) => viewer.setVolume(pane, await api.voxels(`volumes/${pane.info.volume}`))));
  viewer.redraw({ image: true });
  await drawn(viewer);
  performance.mark("all-panes");
}

/** Connect saving to the marks: what is done again after a conflict, and answers. */
function connect(api, reading, sync, edits) {
  sync.reload = async (keepHistory) => {
    const marks = await loadMarks(api);
    reading.load(marks.info, marks.labels);
    if (!keepHistory || !sync.ownsAllBefore(marks.info.next_number)) edits.reset();
    return marks.info.next_number;
  };
  sync.redo = (op) => reading.do(op);
  sync.addEventListener("answer", (event) => reading.take(event.detail, sync.pending.map(({ op }) => op)));
}

/** Show who may write and whether the read is signed. */
function follow(desk, lease) {
  const { info } = desk.reading;
  desk.writable = lease.held && !info.read_only;
  document.body.classList.toggle("read-only", !desk.writable);
  desk.sync.setHeld(lease.held && !info.read_only);
  desk.changedSettings();
  showSignature(info.signature);
  byId("finish").hidden = Boolean(info.signature);
  byId("next").hidden = !info.signature;
}

async function open() {
  const { assignment } = document.body.dataset;
  const api = new Api(assignment, clientId());
  const lease = new Lease(api);
  const info = await api.get("case");
  const first = api.voxels(`volumes/${info.panes[0].volume}`);
  const maps = first.then(() => Promise.all(info.kinds.map(({ id }) => api.voxels(`labels/${id}`)))); // the picture first
  const journal = await Journal.open(assignment).catch(() => null);
  const grid = new Grid(info.shape, info.spacing_mm);
  const empty = new Map(info.kinds.map(({ id }) => [id, new Uint16Array(grid.size)]));
  const reading = new Reading(info, grid, empty);
  const sync = new Sync(api, journal, assignment);
  const edits = new Edits(reading, sync, journal);
  const viewer = new Viewer(byId("panes"), reading);
  const desk = new Desk({ api, reading, viewer, edits, sync });
  connect(api, reading, sync, edits);
  const volumes = loadVolumes(api, viewer, first, maps);

  const labels = await maps;
  reading.load(info, new Map(info.kinds.map(({ id }, at) => [id, labels[at]])));
  if (info.adjudication) reading.reads = await loadReads(api, info);
  reading.previous = await loadPrevious(api, info);
  await sync.takeUp(info.next_number);
  await edits.restore();
  build(desk, lease, journal, edits);
  await Promise.all([lease.ask(), volumes]);
  document.body.dataset.ready = "yes";
}

/** Panel, bar, keys and the corner. */
function build(desk, lease, journal, edits) {
  const { reading } = desk;
  const next = () => {
    if (!reading.info.signature) return;
    location.assign(reading.info.next_case ? `/reading/${encodeURIComponent(reading.info.next_case)}` : "/");
  };
  const signed = async () => {
    lease.stop();
    await journal?.forget();
    reading.load(await desk.api.get("case"), reading.labels);
    desk.useTool("navigate");
    follow(desk, lease);
    byId("next").focus();
  };
  const page = { next, finish: () => { if (!reading.info.signature) finish(desk, signed); } };
  for (const [id, text, key, action] of [["finish", TEXTS.panel.finish, "Ctrl ⏎", page.finish], ["next", TEXTS.panel.next, "C", next]]) {
    byId(id).append(text, element("kbd", { text: key }));
    byId(id).addEventListener("click", action);
  }
  const panel = new Panel(desk);
  const toolbar = new Toolbar(desk, { help: showKeys });
  const slider = new Slider(byId("slice"), byId("ticks"), desk);
  const saving = new Saving(desk, lease, journal);
  listenToKeys(desk, page);
  listenToPointer(desk);
  let wroteElsewhere = false;
  lease.addEventListener("change", async () => {
    if (lease.held && wroteElsewhere && !reading.info.signature) await desk.sync.takeUp(await desk.sync.reload(true));
    wroteElsewhere = !lease.held;
    follow(desk, lease);
    saving.follow();
  });
  lease.addEventListener("loggedout", toLogin);
  desk.sync.addEventListener("leaselost", () => {
    lease.set(false);
    lease.ask(); // a server that was started again has forgotten who writes
  });
  follow(desk, lease);
  Object.assign(window, { desk: Object.assign(desk, { panel, toolbar, slider, saving }) }); // for the console and the browser tests
}

open().catch((error) => {
  if (error.status === 401) { toLogin(); return; }
  byId("panes").textContent = TEXTS.loadFailed(error.message);
  toast(TEXTS.loadFailed(error.message));
  throw error;
});
