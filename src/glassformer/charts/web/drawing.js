// A Vega-Lite chart: drawn by Vega itself, and read mark by mark with the arrow keys.
"use strict";

(() => {
  const { element } = glassformer;
  const COMPOUND = ["hconcat", "vconcat", "concat", "facet", "repeat"]; // these have no width of their own to set

  const NARROWEST = 300; // a panel of several, in CSS pixels, with its axis
  const BESIDE = 80; // of these for the axis and the gap

  glassformer.component("drawing", async (root, data, page) => {
    const plot = element("div", { class: "gf-drawing", tabindex: "0", role: "application", "aria-label": data.label });
    const canvas = element("div", { class: "gf-drawing-canvas" });
    const ring = element("div", { class: "gf-drawing-ring", hidden: "" });
    const readout = element("p", { class: "gf-readout", role: "status" }, "Point at a mark, or go from one to the next with the arrow keys.");
    plot.append(canvas, ring);
    root.append(plot, readout);

    let view = null;
    let drawn = ""; // the theme that stands there
    let frame = page.frame();
    let marks = null; // what the arrow keys walk along; found when the first of them is pressed
    let current = -1;

    function forget() {
      marks = null;
      current = -1;
      ring.hidden = true;
    }

    /** Vega's tooltips go to the page's own box, and to the readout. */
    function tooltip(_handler, event, _item, value) {
      if (value === null || value === undefined || value === "") return page.tip.hide();
      page.tip.show(event.clientX, event.clientY, lines(value));
      readout.textContent = lines(value).join(" · ");
    }

    async function draw(theme) {
      if (theme === drawn) return;
      drawn = theme;
      view?.finalize();
      const options = { renderer: "svg", actions: false, defaultStyle: false, tooltip };
      // ast: Vega interprets its expressions, since the page's policy forbids eval
      const embedded = await vegaEmbed(canvas, themed(data, theme, plot.clientWidth), { ...options, ast: true });
      view = embedded.view;
      await show(frame);
      view.addResizeListener(forget);
    }

    async function show(next) {
      frame = next;
      if (data.frames > 1) await view.signal("frame", next).runAsync();
      forget();
    }

    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return forget();
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      marks ??= readable(view);
      if (!marks.length) return;
      current = current < 0 && step < 0 ? marks.length - 1 : Math.max(0, Math.min(marks.length - 1, current + step));
      readout.textContent = marks[current].lines.join(" · ");
      const drawing = canvas.querySelector("svg");
      const scale = drawing.getBoundingClientRect().width / drawing.width.baseVal.value; // wide charts are shrunk
      ring.hidden = false;
      ring.style.transform = `translate(${marks[current].x * scale}px, ${marks[current].y * scale}px)`;
    });
    plot.addEventListener("blur", () => (ring.hidden = true));

    await draw(page.theme());
    return { frame: (next) => next !== frame && show(next), theme: draw };
  });

  /**
   * The specification in a theme: the light one is stored, and the places in which the dark one differs.
   * It takes `room` CSS pixels; panels in rows share them.
   */
  function themed({ spec: light, dark }, theme, room) {
    const spec = structuredClone(light);
    for (const [path, value] of theme === "dark" ? dark : []) {
      const place = path.slice(0, -1).reduce((inner, key) => inner[key], spec);
      place[path.at(-1)] = structuredClone(value);
    }
    spec.background = "transparent";
    spec.padding ??= 6;
    const stepped = typeof spec.width === "object"; // so many pixels a category
    const panelled = ["row", "column", "facet"].some((name) => name in (spec.encoding ?? {}));
    if (!stepped && !panelled && !COMPOUND.some((name) => name in spec)) {
      spec.width = "container";
      spec.autosize = { type: "fit-x", contains: "padding" };
    }
    if (spec.facet && spec.columns && typeof spec.spec.width === "number") {
      spec.columns = Math.min(spec.columns, Math.max(1, Math.floor(room / NARROWEST)));
      spec.spec.width = Math.floor(room / spec.columns) - BESIDE;
    }
    return spec;
  }

  /** What can be read, in the order of drawing, each once: the marks with a tooltip, or with a description if none has. */
  function readable(view) {
    const told = new Map(); // by text and place: the points of a line tell what the line does
    const described = new Map();
    function walk(mark, left, top) {
      for (const item of mark.items) {
        const [x, y] = [left + (item.x ?? 0), top + (item.y ?? 0)];
        if (mark.marktype === "group") for (const inner of item.items) walk(inner, x, y);
        else if (mark.role === "mark" && (item.tooltip || item.description)) {
          const words = lines(item.tooltip ?? item.description);
          const at = { lines: words, x: x + (item.width ?? 0) / 2, y: y + (item.height ?? 0) / 2 };
          (item.tooltip ? told : described).set(JSON.stringify(at), at);
        }
      }
    }
    const [left, top] = view.origin();
    const padding = view.padding();
    walk(view.scenegraph().root, left + padding.left, top + padding.top);
    return [...(told.size ? told : described).values()];
  }

  /** What a tooltip says: an object's fields, or a text. */
  function lines(value) {
    if (typeof value !== "object") return [String(value)];
    return Object.entries(value).map(([name, of]) => `${name}: ${of}`);
  }
})();
