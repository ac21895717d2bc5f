/** Mouse, pen and wheel on the panes. */

const WINDOW_PER_PX = 0.004;

/** @param {import("./desk.js").Desk} desk */
export function listenToPointer(desk) {
  const { viewer } = desk;
  for (const pane of viewer.panes) {
    let drag = null;
    const pointOf = (event) => {
      const pixel = pane.pixelAt(event, viewer.view, viewer.plane);
      const voxel = desk.grid.toVoxel(viewer.plane, Math.floor(pixel[0]), Math.floor(pixel[1]), viewer.slice);
      return { pixel, voxel, pane, shift: event.shiftKey, client: [event.clientX, event.clientY] };
    };
    pane.node.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      pane.node.setPointerCapture(event.pointerId);
      viewer.node.focus({ preventScroll: true });
      if (viewer.view.active !== pane.info.id) viewer.set({ active: pane.info.id });
      const point = pointOf(event);
      drag = { button: event.button, last: [event.clientX, event.clientY] };
      desk.hover = point;
      if (event.button === 1) { drag.tool = desk.tools.navigate; desk.tools.navigate.down(point); }
      if (event.button === 0 && desk.mayUse(desk.tool)) { drag.tool = desk.tool; desk.tool.down(point); }
    });
    pane.node.addEventListener("pointermove", (event) => {
      const point = pointOf(event);
      desk.hover = point;
      if (drag?.button === 2) {
        const [dx, dy] = [event.clientX - drag.last[0], event.clientY - drag.last[1]];
        drag.last = [event.clientX, event.clientY];
        pane.scale.adjust(dy * WINDOW_PER_PX, Math.exp(dx * WINDOW_PER_PX));
        viewer.redraw({ image: true });
        desk.dispatchEvent(new Event("settings"));
      } else if (drag?.tool) {
        for (const part of event.getCoalescedEvents?.() ?? [event]) drag.tool.move(pointOf(part));
      } else if (desk.tool.draw && desk.tool.edits) {
        viewer.drawMarks(pane);
      }
    });
    const finish = (event, how) => {
      const used = drag?.tool;
      drag = null;
      if (used && how === "up") used.up(pointOf(event));
      else used?.cancel();
    };
    pane.node.addEventListener("pointerup", (event) => finish(event, "up"));
    pane.node.addEventListener("pointercancel", (event) => finish(event, "cancel"));
    pane.node.addEventListener("pointerleave", () => { if (!drag) { desk.hover = null; viewer.drawMarks(pane); } });
    pane.node.addEventListener("contextmenu", (event) => event.preventDefault());
    pane.node.addEventListener("dblclick", () => { if (desk.tool.name === "navigate") desk.nextLayout(); });
    pane.node.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) viewer.zoomBy(Math.exp(-event.deltaY * 0.002), pane.pixelAt(event, viewer.view, viewer.plane));
      else desk.scroll(event.deltaY, event.deltaMode);
    }, { passive: false });
  }
}
