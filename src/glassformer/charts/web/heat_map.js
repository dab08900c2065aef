// A matrix as colours: glassformer.matrix draws one, with its labels, legend and cell cursor; the component "heat-map"
// adds frames and drop-downs to it. The canvas has one pixel a cell and is scaled by the browser.
"use strict";

glassformer.matrix = (root, page, options) => {
  const { element, visible } = glassformer;
  const { kind, scale, domain } = options;
  const rows = options.rows.map(visible);
  const columns = options.columns.map(visible);
  const [R, C] = [rows.length, columns.length];
  const LABEL_FONT = 11;
  const TALLEST = options.tallest ?? 640;
  let values = new Float32Array(R * C);
  let cell = null; // [row, column] under the cursor

  const canvas = element("canvas", { width: C, height: R });
  const cursor = element("div", { class: "gf-cursor", hidden: "" });
  const cells = element("div", { class: "gf-cells", tabindex: 0, role: "application" }, canvas, cursor);
  cells.setAttribute("aria-roledescription", "heat map");
  cells.setAttribute("aria-label", `${options.label}, ${R} rows, ${C} columns; the arrow keys move from cell to cell`);
  const rowLabels = element("div", { class: "gf-row-labels", "aria-hidden": "true" });
  const columnLabels = element("div", { class: "gf-column-labels", "aria-hidden": "true" });
  const rowTitle = element("div", { class: "gf-row-title" }, options.rowTitle ? `↓ ${options.rowTitle}` : "");
  const columnTitle = element("div", { class: "gf-column-title" }, options.columnTitle ? `${options.columnTitle} →` : "");
  const plot = element("div", { class: "gf-plot" }, rowTitle, columnTitle, columnLabels, rowLabels, cells);
  const legend = element("div", { class: "gf-legend" });
  const readout = element("div", { class: "gf-readout", role: "status" });
  root.append(legend, plot, readout);

  // ---- colours -----------------------------------------------------------------------------------------------------

  const log = scale === "log";
  const [low, high] = log ? domain.map(Math.log10) : domain;

  function share(value) {
    if (log) return value > 0 ? (Math.log10(value) - low) / (high - low) : NaN;
    const t = (value - low) / (high - low);
    return scale === "sqrt" ? Math.sqrt(Math.max(0, t)) : t;
  }

  function valueAt(t) {
    if (log) return 10 ** (low + t * (high - low));
    return low + (high - low) * (scale === "sqrt" ? t * t : t);
  }

  function paint() {
    const image = new ImageData(C, R);
    const table = page.lut(kind);
    const blank = page.nothing();
    for (let i = 0; i < values.length; i++) {
      const t = share(values[i]);
      const at = 4 * i;
      if (Number.isFinite(values[i]) && !Number.isNaN(t)) {
        const from = 3 * Math.round(255 * Math.min(1, Math.max(0, t)));
        image.data[at] = table[from];
        image.data[at + 1] = table[from + 1];
        image.data[at + 2] = table[from + 2];
      } else image.data.set(blank, at);
      image.data[at + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function ticks() {
    if (!log) return [0, 0.5, 1].map((t) => [t, valueAt(t)]);
    const powers = [];
    for (let power = Math.ceil(low - 1e-9); power <= high + 1e-9; power++) powers.push(power);
    if (powers.length < 2) return [0, 1].map((t) => [t, valueAt(t)]);
    const step = Math.ceil(powers.length / 5);
    const kept = powers.filter((_, i) => i % step === 0);
    return kept.map((power) => [(power - low) / (high - low), 10 ** power, `10${raised(power)}`]);
  }

  function raised(power) {
    return String(power).replace(/./g, (digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]);
  }

  function drawLegend() {
    const bar = element("canvas", { width: 256, height: 1 });
    const table = page.lut(kind);
    const image = new ImageData(256, 1);
    for (let i = 0; i < 256; i++) image.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
    bar.getContext("2d").putImageData(image, 0, 0);
    const numbers = element("div", { class: "gf-ticks" });
    for (const [t, value, text] of ticks()) {
      const tick = element("span", {}, text ?? page.format(value));
      tick.style.left = `${100 * t}%`;
      tick.style.transform = `translateX(${t < 0.05 ? 0 : t > 0.95 ? -100 : -50}%)`; // inside the bar's ends
      numbers.append(tick);
    }
    const title = element("span", { class: "gf-legend-title" }, options.valueTitle);
    legend.replaceChildren(title, element("div", { class: "gf-scale" }, bar, numbers));
  }

  // ---- labels and sizes --------------------------------------------------------------------------------------------

  const ruler = document.createElement("canvas").getContext("2d");

  function longest(labels) {
    ruler.font = `${LABEL_FONT}px ${getComputedStyle(document.body).fontFamily}`;
    return Math.ceil(Math.max(0, ...labels.map((label) => ruler.measureText(label).width)));
  }

  const rowSpace = Math.min(150, Math.max(longest(rows), longest([rowTitle.textContent]))) + 8;
  const columnSpace = Math.min(110, longest(columns)) + 4;

  // Whole device pixels, so that all cells look alike, unless that would cost too much room.
  function snap(size) {
    const whole = Math.floor(size * devicePixelRatio) / devicePixelRatio;
    return whole > 0.85 * size ? whole : size;
  }

  function cellSize(space) {
    const width = Math.min(R === C ? 44 : 60, space / C);
    if (R > 24 && C > 24) {
      const side = snap(Math.min(width, TALLEST / R));
      return [side, side];
    }
    if (R > 24) return [snap(width), snap(Math.min(18, Math.max(TALLEST, 2 * R) / R))];
    return [snap(width), snap(Math.min(R === C ? 44 : 38, Math.max(width, 20)))];
  }

  function place(box, labels, size, gap, horizontal) {
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
    const step = steps.find((candidate) => candidate * size >= gap) ?? labels.length;
    box.replaceChildren();
    for (let i = 0; i < labels.length; i += step) {
      const label = element("span", {}, labels[i]);
      label.style[horizontal ? "left" : "top"] = `${(i + 0.5) * size}px`;
      box.append(label);
    }
  }

  let size = [1, 1];

  function layout() {
    const space = root.clientWidth - rowSpace;
    if (space <= 0) return;
    size = cellSize(space);
    const [width, height] = [size[0] * C, size[1] * R];
    canvas.style.width = cells.style.width = `${width}px`;
    canvas.style.height = cells.style.height = `${height}px`;
    plot.style.gridTemplateColumns = `${rowSpace}px ${width}px`;
    rowLabels.style.height = `${height}px`;
    place(rowLabels, rows, size[1], LABEL_FONT, false);
    const upright = columnSpace + 2 <= Math.max(size[0], 36);
    columnLabels.classList.toggle("gf-turned", !upright);
    columnLabels.style.height = `${upright ? LABEL_FONT + 5 : columnSpace}px`;
    const gap = columns.every((label) => label.length <= 1) ? -2 : 4; // characters of a text may stand closer
    place(columnLabels, columns, size[0], upright ? columnSpace + gap : LABEL_FONT + 1, true);
    placeCursor();
  }

  // ---- the cell under the cursor -----------------------------------------------------------------------------------

  function placeCursor() {
    cursor.hidden = !cell;
    if (!cell) return;
    cursor.style.left = `${cell[1] * size[0]}px`;
    cursor.style.top = `${cell[0] * size[1]}px`;
    cursor.style.width = `${size[0]}px`;
    cursor.style.height = `${size[1]}px`;
  }

  function name(labels, index, title) {
    const text = options.numbered ? `${labels[index]} (${index})` : labels[index];
    return title ? `${title} ${text}` : text;
  }

  function lines() {
    const [row, column] = cell;
    const value = page.format(values[row * C + column]);
    return [value, name(rows, row, options.rowTitle), name(columns, column, options.columnTitle)];
  }

  function read() {
    if (!cell) return readout.replaceChildren();
    const [value, row, column] = lines();
    readout.textContent = `${row}, ${column}: ${value}`;
  }

  function select(row, column) {
    if (cell && cell[0] === row && cell[1] === column) return;
    cell = [row, column];
    placeCursor();
    read();
    options.onCell?.(row, column);
  }

  function under(event) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * C);
    const row = Math.floor(((event.clientY - box.top) / box.height) * R);
    return row >= 0 && row < R && column >= 0 && column < C ? [row, column] : null;
  }

  function point(event) {
    const found = under(event);
    if (!found) return page.tip.hide();
    select(...found);
    page.tip.show(event.clientX, event.clientY, lines());
  }

  cells.addEventListener("pointermove", point);
  cells.addEventListener("pointerdown", point);
  cells.addEventListener("pointerleave", () => page.tip.hide());
  cells.addEventListener("focus", () => {
    if (!cell) select(0, 0);
  });
  cells.addEventListener("blur", () => page.tip.hide());
  cells.addEventListener("keydown", (event) => {
    const [row, column] = cell ?? [0, 0];
    const moves = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      PageUp: [row - 10, column],
      PageDown: [row + 10, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? R - 1 : row, C - 1],
    };
    if (event.key === "Escape") {
      page.tip.hide();
      options.onEscape?.();
    }
    if (!(event.key in moves) || event.altKey || event.metaKey) return;
    event.preventDefault();
    page.tip.hide();
    const [nextRow, nextColumn] = moves[event.key];
    select(Math.min(R - 1, Math.max(0, nextRow)), Math.min(C - 1, Math.max(0, nextColumn)));
  });

  new ResizeObserver(layout).observe(root);
  layout();
  drawLegend();

  return {
    // The numbers to draw, row by row.
    show(numbers) {
      values = numbers;
      paint();
      read();
    },
    theme() {
      paint();
      drawLegend();
    },
    focus: () => cells.focus(),
    values: () => values,
  };
};

glassformer.component("heat-map", async (root, data, page) => {
  const { element, selector } = glassformer;
  const { slice, shape } = await page.load(data.values);
  const [R, C] = shape.slice(-2);
  const chosen = data.choices.map(() => 0);

  const controls = element("div", { class: "gf-controls" });
  data.choices.forEach(([title, options], index) => {
    const change = (option) => {
      chosen[index] = option;
      show();
    };
    controls.append(selector(title, options, change).element);
  });
  if (data.choices.length) root.append(controls);
  const box = element("div", { class: "gf-matrix" });
  root.append(box);

  const matrix = glassformer.matrix(box, page, {
    ...data,
    onCell: (row, column) => page.emit("cell", { figure: page.figure, row, column }),
  });

  function show() {
    let map = Math.min(page.frame(), shape[0] - 1);
    data.choices.forEach(([, options], index) => {
      map = map * options.length + chosen[index];
    });
    matrix.show(slice(map * R * C, (map + 1) * R * C));
  }

  show();
  return { frame: show, theme: matrix.theme };
});
