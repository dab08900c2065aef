// Parameters by depth, optimizer steps across, colour a logarithm; the loss and one parameter's line on the same steps.
"use strict";

(() => {
  const { element, selector } = glassformer;
  const [WIDE, LEFT, NARROW_LEFT] = [560, 200, 108]; // a page at least so wide has so much room for names; others less
  const LETTER = 6.6; // width of a letter, about
  const RIGHT = 24;
  const GAP = 30; // between the panels, with the lower one's heading in it
  const PANEL = 120; // height of a panel of lines
  const AXIS = 38; // room of the steps' names
  const NAME_HEIGHT = 12; // rows less high than this are named by block

  glassformer.component("depth-by-step", async (root, data, page) => {
    const names = Object.keys(data.quantities);
    const grids = {}; // quantity -> log10 of its values, [rows × steps], row after row
    for (const name of names) grids[name] = (await page.unpack(data.quantities[name].values)).values;

    const edges = columnEdges(data.steps);
    const [first, last] = [edges[0], edges.at(-1)];
    const rowHeight = Math.max(2.5, Math.min(16, 460 / data.rows.length));
    const mapHeight = rowHeight * data.rows.length;
    const lossTop = mapHeight + GAP;
    const lineTop = lossTop + PANEL + GAP;
    const bottom = lineTop + PANEL;
    const state = { quantity: names[0], row: 0, column: data.steps.length - 1, picked: 0, touched: false };
    let width = 0;
    let left = LEFT;

    const choice = selector("colour", names, (index) => {
      state.quantity = names[index];
      draw();
      tell();
    });
    choice.element.hidden = names.length < 2;
    const legend = element("span", { class: "gf-depth-legend" });
    const canvas = element("canvas");
    const drawing = svg("svg", { "aria-hidden": "true" });
    const plot = element("div", { class: "gf-depth", tabindex: "0", role: "application", "aria-label": `${data.label}. Arrow keys move; Enter draws the line of the parameter below.` });
    plot.append(canvas, drawing);
    const readout = element("p", { class: "gf-readout", role: "status" });
    root.append(element("div", { class: "gf-controls" }, choice.element, legend), plot, readout);

    const x = (step) => left + ((step - first) / (last - first)) * (width - left - RIGHT);
    const value = (row, column) => grids[state.quantity][row * data.steps.length + column];

    function draw() {
      width = Math.max(280, plot.clientWidth);
      left = width < WIDE ? NARROW_LEFT : LEFT;
      plot.style.height = `${bottom + AXIS}px`;
      drawMap();
      drawLines();
      drawLegend();
      mark();
    }

    /** The map: a picture of one pixel a cell, each column stretched to the steps it stands for. */
    function drawMap() {
      const [columns, rows] = [data.steps.length, data.rows.length];
      const [low, high] = data.quantities[state.quantity].domain;
      const lut = page.lut("sequential");
      const picture = new ImageData(columns, rows);
      const grid = grids[state.quantity];
      for (let cell = 0; cell < grid.length; cell++) {
        if (!Number.isFinite(grid[cell])) continue; // left transparent: nothing here
        const t = Math.max(0, Math.min(1, (grid[cell] - low) / (high - low)));
        picture.data.set(lut.subarray(3 * Math.round(255 * t), 3 * Math.round(255 * t) + 3), 4 * cell);
        picture.data[4 * cell + 3] = 255;
      }
      const small = element("canvas", { width: columns, height: rows });
      small.getContext("2d").putImageData(picture, 0, 0);

      const sharp = window.devicePixelRatio || 1;
      const inner = width - left - RIGHT;
      canvas.width = Math.round(inner * sharp);
      canvas.height = Math.round(mapHeight * sharp);
      Object.assign(canvas.style, { left: `${left}px`, width: `${inner}px`, height: `${mapHeight}px` });
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      for (let column = 0; column < columns; column++) {
        const from = Math.round((x(edges[column]) - left) * sharp);
        const to = Math.round((x(edges[column + 1]) - left) * sharp);
        context.drawImage(small, column, 0, 1, rows, from, 0, Math.max(1, to - from), canvas.height);
      }
    }

    function drawLines() {
      drawing.replaceChildren();
      drawing.setAttribute("viewBox", `0 0 ${width} ${bottom + AXIS}`);
      drawNames();
      drawSteps();
      drawLosses();
      drawing.append(svg("g", { class: "gf-depth-picked" }), svg("g", { class: "gf-depth-mark" }));
      drawPicked();
    }

    /** Every row's name where there is room; else a name and a line for each block. */
    function drawNames() {
      const groups = rowHeight >= NAME_HEIGHT ? data.rows.map((name, row) => ({ name, from: row, to: row + 1 })) : blocks(data.rows);
      let free = -6; // the height below which no name stands yet
      for (const { name, from, to } of groups) {
        const middle = ((from + to) / 2) * rowHeight;
        if (rowHeight < NAME_HEIGHT && from) line(drawing, "gf-depth-rule", left - 6, from * rowHeight, width - RIGHT, from * rowHeight);
        if (middle - 5 < free) continue;
        text(drawing, "gf-depth-name", left - 10, middle, shortened(name, Math.floor(left / LETTER)), "end");
        free = middle + 6;
      }
    }

    function drawSteps() {
      for (const step of ticks(first, last, Math.max(2, Math.floor(width / 110)))) {
        if (!Number.isInteger(step)) continue;
        line(drawing, "gf-depth-grid", x(step), lossTop, x(step), lossTop + PANEL);
        line(drawing, "gf-depth-grid", x(step), lineTop, x(step), bottom);
        text(drawing, "gf-depth-tick", x(step), bottom + 14, step.toLocaleString("en"), "middle");
      }
      text(drawing, "gf-depth-title", (left + width - RIGHT) / 2, bottom + 31, "optimizer step", "middle");
    }

    function drawLosses() {
      const curves = Object.entries(data.losses);
      const all = curves.flatMap(([, curve]) => curve.values).filter((loss) => loss !== null);
      const scale = vertical(lossTop, Math.min(...all), Math.max(...all));
      heading(drawing, lossTop, all.length ? "loss (nats/token)" : "loss: none was logged");
      if (!all.length) return;
      for (const tick of ticks(scale.low, scale.high, 4)) rule(scale(tick), page.format(tick));
      let at = headingLeft() + 130;
      curves.forEach(([name, { steps, values }], index) => {
        const points = steps.map((step, place) => (values[place] === null ? null : [x(step), scale(values[place])]));
        const colour = `color: ${page.palette()[index % page.palette().length]}`;
        if (dotted(name)) for (const point of points.filter(Boolean)) dot(...point, colour);
        else drawing.append(svg("path", { class: "gf-depth-line", style: colour, d: path(points) }));
        at += key(at, colour, name);
      });
    }

    /** One entry of the losses' legend, to the right of the heading; returns its width. */
    function key(at, colour, name) {
      const y = lossTop - 10;
      if (dotted(name)) dot(at + 9, y, colour);
      else drawing.append(svg("path", { class: "gf-depth-line", style: colour, d: `M${at} ${y}h18` }));
      text(drawing, "gf-depth-tick", at + 24, y, name, "start");
      return 42 + 6.2 * name.length;
    }

    function dot(cx, cy, style) {
      drawing.append(svg("circle", { class: "gf-depth-point", style, cx, cy, r: 3.2 }));
    }

    /** The line of the picked parameter, in powers of ten. */
    function drawPicked() {
      const group = drawing.querySelector(".gf-depth-picked");
      group.replaceChildren();
      const logs = data.steps.map((_, column) => value(state.picked, column));
      const finite = logs.filter(Number.isFinite);
      const [before, after] = [`${state.quantity} of `, finite.length ? "" : ": nothing to draw"];
      const room = Math.floor((width - headingLeft()) / LETTER) - before.length - after.length;
      heading(group, lineTop, before + shortened(data.rows[state.picked], Math.max(room, 8)) + after);
      if (!finite.length) return;
      const scale = vertical(lineTop, Math.min(...finite), Math.max(...finite));
      const powers = ticks(scale.low, scale.high, 4).filter(Number.isInteger);
      const shown = powers.length > 1 ? powers : ticks(scale.low, scale.high, 3);
      for (const tick of shown) rule(scale(tick), power(tick), group);
      const points = logs.map((log, column) => (Number.isFinite(log) ? [x(data.steps[column]), scale(log)] : null));
      group.append(svg("path", { class: "gf-depth-line", d: path(points) }));
    }

    function heading(parent, top, words) {
      text(parent, "gf-depth-heading", headingLeft(), top - 10, words, "start");
    }

    function headingLeft() {
      return width < WIDE ? 0 : left;
    }

    function rule(y, words, parent = drawing) {
      line(parent, "gf-depth-grid", left, y, width - RIGHT, y);
      text(parent, "gf-depth-tick", left - 10, y, words, "end");
    }

    function drawLegend() {
      const { domain } = data.quantities[state.quantity];
      const bar = element("span", { class: "gf-depth-bar" });
      const lut = page.lut("sequential");
      const stops = [0, 51, 102, 153, 204, 255].map((at) => `rgb(${lut.slice(3 * at, 3 * at + 3).join(" ")})`);
      bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      legend.replaceChildren(element("span", {}, `≤ ${power(domain[0])}`), bar, element("span", {}, `≥ ${power(domain[1])}`), element("i"), element("span", {}, "nothing"));
    }

    /** The crosshair through all three panels, and a frame around the row. */
    function mark() {
      const group = drawing.querySelector(".gf-depth-mark");
      group.replaceChildren();
      const y = (state.picked + 0.5) * rowHeight;
      group.append(svg("path", { class: "gf-depth-pointer", d: `M ${left - 7} ${y - 4} l 6 4 l -6 4 z` }));
      if (!state.touched) return;
      const step = x(data.steps[state.column]);
      line(group, "gf-depth-cross", step, 0, step, bottom);
      group.append(svg("rect", { class: "gf-depth-row", x: left, y: state.row * rowHeight, width: width - left - RIGHT, height: rowHeight }));
    }

    function tell() {
      const step = data.steps[state.column];
      const log = value(state.row, state.column);
      const words = [`step ${step.toLocaleString("en")}`, data.rows[state.row], `${state.quantity} ${said(log, page.format)}`];
      for (const [name, curve] of Object.entries(data.losses)) {
        const place = latest(curve.steps, step);
        if (place < 0) continue;
        const at = curve.steps[place] === step ? "" : ` (step ${curve.steps[place].toLocaleString("en")})`;
        words.push(`${name} loss ${curve.values[place] === null ? "not finite" : page.format(curve.values[place])}${at}`);
      }
      readout.textContent = words.join(" · ");
      return words;
    }

    function move(row, column) {
      state.row = Math.max(0, Math.min(data.rows.length - 1, row));
      state.column = Math.max(0, Math.min(data.steps.length - 1, column));
      state.touched = true;
      mark();
      return tell();
    }

    function pick() {
      state.picked = state.row;
      drawPicked();
      mark();
      page.announce(`The line of ${data.rows[state.picked]}`);
    }

    /** The cell under the pointer; beneath the map the row stays. */
    function under(event) {
      const box = plot.getBoundingClientRect();
      const step = first + ((event.clientX - box.left - left) / (width - left - RIGHT)) * (last - first);
      const column = Math.max(0, latest(edges, step));
      const [y, onMap] = [event.clientY - box.top, event.clientY - box.top < mapHeight];
      return { row: onMap ? Math.floor(y / rowHeight) : state.picked, column, onMap, inside: step >= first && step <= last };
    }

    plot.addEventListener("pointermove", (event) => {
      const { row, column, inside } = under(event);
      if (!inside) return page.tip.hide();
      page.tip.show(event.clientX, event.clientY, move(row, column));
    });
    plot.addEventListener("pointerleave", () => page.tip.hide());
    plot.addEventListener("click", (event) => {
      const { row, column, onMap } = under(event);
      move(row, column);
      if (onMap) pick();
    });
    plot.addEventListener("keydown", (event) => {
      const wide = event.shiftKey ? 10 : 1;
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
      if (down || right) move(state.row + wide * down, state.column + wide * right);
      else if (event.key === "Home") move(state.row, 0);
      else if (event.key === "End") move(state.row, data.steps.length - 1);
      else if (event.key === "Enter") pick();
      else return;
      event.preventDefault();
    });

    new ResizeObserver(() => plot.clientWidth !== width && draw()).observe(plot);
    draw();
    readout.textContent = "Point at a cell, or move with the arrow keys; a click or Enter draws that parameter's line below.";
    let drawn = page.theme();
    return {
      theme(name) {
        if (name === drawn) return;
        drawn = name;
        draw();
      },
    };
  });

  /** Validation losses are few, and drawn as points. */
  function dotted(name) {
    return name.includes("validation");
  }

  /** What a logarithm stood for, in words: of zero it is -Infinity, of what is not finite NaN. */
  function said(log, format) {
    if (log === -Infinity) return "0: no logarithm, nothing here";
    return Number.isFinite(log) ? format(Number((10 ** log).toPrecision(3))) : "not finite, nothing here";
  }

  /** The borders of the columns: halfway between neighbouring steps. */
  function columnEdges(steps) {
    if (steps.length === 1) return [steps[0] - 0.5, steps[0] + 0.5];
    const between = steps.slice(1).map((step, index) => (steps[index] + step) / 2);
    return [2 * steps[0] - between[0], ...between, 2 * steps.at(-1) - between.at(-1)];
  }

  /** The last place whose value is at most `bound`, in a rising list; -1 if there is none. */
  function latest(rising, bound) {
    let [low, high] = [0, rising.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rising[middle] <= bound) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Runs of rows whose names begin alike: `blocks.3`, or the first word. */
  function blocks(rows) {
    const found = [];
    rows.forEach((row, index) => {
      const [name] = row.match(/^[^.]+(\.blocks)?(\.\d+)?/);
      if (found.at(-1)?.name === name) found.at(-1).to = index + 1;
      else found.push({ name, from: index, to: index + 1 });
    });
    return found;
  }

  function shortened(name, length) {
    return name.length <= length ? name : `…${name.slice(1 - length)}`;
  }

  /** Round numbers between two values, about `count` of them. */
  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const base = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * base).find((size) => size >= rough);
    const from = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - from + 1 }, (_, index) => (from + index) * step);
  }

  /** A panel's scale: value -> height on the page, with a little air above and below. */
  function vertical(top, least, most) {
    const air = (most - least || 1) * 0.06;
    const [low, high] = [least - air, most + air];
    return Object.assign((value) => top + PANEL - ((value - low) / (high - low)) * PANEL, { low, high });
  }

  /** An SVG path through the points; a hole (null) lifts the pen. */
  function path(points) {
    let down = false;
    const parts = [];
    for (const point of points) {
      if (point) parts.push(`${down ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`);
      down = Boolean(point);
    }
    return parts.join("");
  }

  /** 10 to the power of a tick, written with its exponent raised: 10⁻³, 3.2×10⁻³. */
  function power(exponent) {
    const whole = Math.floor(exponent + 1e-9);
    const raised = String(whole).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
    const factor = (10 ** (exponent - whole)).toFixed(1);
    return factor === "1.0" ? `10${raised}` : `${factor}×10${raised}`;
  }

  function svg(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function line(parent, kind, x1, y1, x2, y2) {
    parent.append(svg("line", { class: kind, x1, y1, x2, y2 }));
  }

  function text(parent, kind, x, y, words, anchor) {
    parent.append(svg("text", { class: kind, x, y, "text-anchor": anchor, "dominant-baseline": "central" }, words));
  }
})();
