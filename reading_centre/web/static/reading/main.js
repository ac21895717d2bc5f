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

/** Label maps by kind. @param {Api} api @param {string} path @param {string[]} kinds @param {number} size in voxels */
async function loadMaps(api, path, kinds, size) {
  return new Map(await Promise.all(kinds.map(async (id) => /** @type {[string, Uint16Array]} */ ([id, await api.labels(`${path}/${id}`, size)]))));
}

/** Resolves when the panes are drawn. @param {Viewer} viewer @returns {Promise<void>} */
function drawn(viewer) {
  return new Promise((resolve) => { viewer.addEventListener("drawn", () => resolve(), { once: true }); });
}

/** Load the volumes, the first pane first. @param {Api} api @param {Viewer} viewer @param {Promise<Uint16Array>} first */
async function loadVolumes(api, viewer, first) {
  const [pane, ...others] = viewer.panes;
  const loading = new Map([[pane.info.volume, first]]); // an adjudication shows an image three times
  viewer.setVolume(pane, await first);
  await drawn(viewer);
  performance.mark("first-picture");
  await Promise.all(others.map(async (other) => {
    const { volume } = other.info;
    if (!loading.has(volume)) loading.set(volume, api.voxels(`volumes/${volume}`));
    viewer.setVolume(other, await loading.get(volume));
  }));
  viewer.redraw({});
  await drawn(viewer);
  performance.mark("all-panes");
}

/** Connect saving to the marks: what is done again after a conflict, and answers. */
function connect(api, reading, sync, edits) {
  sync.reload = async (keepHistory) => {
    const info = await api.get("case");
    reading.load(info, await loadMaps(api, "labels", info.kinds.map(({ id }) => id), reading.grid.size));
    if (!keepHistory || !sync.ownsAllBefore(info.next_number)) edits.reset();
    return info.next_number;
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
  const stored = Journal.open(assignment).catch(() => null);
  const info = await api.get("case");
  const first = api.voxels(`volumes/${info.panes[0].volume}`);
  const grid = new Grid(info.shape, info.spacing_mm);
  const kinds = info.kinds.map(({ id }) => id);
  const [labels, journal] = await Promise.all([loadMaps(api, "labels", kinds, grid.size), stored]);
  const reading = new Reading(info, grid, labels);
  const lease = new Lease(api);
  const sync = new Sync(api, journal, assignment);
  const edits = new Edits(reading, sync, journal);
  const viewer = new Viewer(byId("panes"), reading);
  const desk = new Desk({ api, reading, viewer, edits, sync });
  connect(api, reading, sync, edits);
  build(desk, lease, journal, edits); // before the images: they get their final size
  const volumes = loadVolumes(api, viewer, first);

  for (const name of info.adjudication ? ["A", "B"] : []) reading.reads.set(name, await loadMaps(api, `reads/${name}`, kinds, grid.size));
  reading.previous = await loadMaps(api, "previous", info.confirmed_before, grid.size);
  reading.changed(); // the outlines of the reads were not there at the first drawing
  await sync.takeUp(info.next_number);
  await edits.restore();
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
